"""What the engine asks of a task, so that it knows neither data nor models."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn

from trainer.config.imports import Source
from trainer.config.network import ImageNetwork, SequenceNetwork
from trainer.data.batch import Batch, StepBatches

Split = Literal["validation", "test"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a pass over a split found, the same on all ranks."""

    loss: float
    """Mean loss of a unit."""
    scores: dict[str, float]
    """Metrics by name, the one that chooses the best checkpoint among them."""


@dataclass(frozen=True)
class Selection:
    """The metric of the validation split that chooses the best checkpoint."""

    score: str
    """Its name among ``Evaluation.scores``."""
    higher_is_better: bool

    def gain(self, value: float, over: float) -> float:
        """How much better ``value`` is than ``over``; negative where it is worse."""
        return value - over if self.higher_is_better else over - value


class Splits(Protocol):
    """The parts of a data set."""

    @property
    def train(self) -> Sized:
        """What is trained on."""
        ...

    @property
    def validation(self) -> Sized | None:
        """What the best checkpoint is chosen by."""
        ...

    @property
    def test(self) -> Sized:
        """What is evaluated at the end."""
        ...


class Task(ABC):
    """A kind of problem: its data, its network, its loss, its metrics and what it leaves in the results folder.

    One object a rank. Everything that all ranks must decide alike follows from the configuration and the data.
    """

    selection: ClassVar[Selection]
    model: nn.Module
    """The network, on the device of the rank."""

    splits: Splits
    """The data."""
    code: Mapping[str, Source] = MappingProxyType({})
    """Files of the user's own code that it is made of, by module."""

    @property
    def training_samples(self) -> int:
        """Samples of the training split."""
        return len(self.splits.train)

    @property
    def has_validation(self) -> bool:
        """Whether there is a split to choose the best checkpoint by."""
        return self.splits.validation is not None

    def sizes(self) -> str:
        """How many samples each split has, in words."""
        splits = self.splits
        return f"{len(splits.train)} training, {len(splits.validation or ())} validation and {len(splits.test)} test"

    @abstractmethod
    def introduction(self) -> str:
        """Data and network in a line for the log."""

    @abstractmethod
    def epoch(self, epoch: int, *, start: int, steps: int) -> Iterator[StepBatches]:
        """This rank's share of each step of ``epoch`` (from 0), from step ``start`` of it on."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, progress: float) -> Tensor:
        """The summed loss of ``batch``, a scalar.

        Args:
            network: ``model``, wrapped for data parallelism where there are several ranks.
            batch: Of ``epoch``.
            progress: Share of the epochs' steps done, 0 to 1.
        """

    @abstractmethod
    def evaluate(self, split: Split) -> Evaluation:
        """Evaluate ``model`` on a whole split; every rank calls it."""

    @abstractmethod
    def network(self) -> ImageNetwork | SequenceNetwork:
        """What it takes to use the network without the training configuration; every checkpoint keeps it."""

    @abstractmethod
    def test(self) -> "TaskResults | None":
        """Evaluate the test split and keep what was said of each sample; every rank calls it, rank 0 has results."""


class TaskResults(ABC):
    """The last evaluation, and the files that are made of it."""

    evaluation: Evaluation

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The task's part of summary.json: at least ``samples`` (of each split)."""

    @abstractmethod
    def write(self, folder: Path, metrics: list[dict[str, Any]]) -> dict[str, Any]:
        """Write predictions, plots and exports; what to add to summary.json of them. Rank 0 calls it.

        Args:
            folder: Results folder.
            metrics: Lines of metrics.jsonl.
        """


class Folds(ABC):
    """A task as many times as cross-validation has folds, each with other training and test samples."""

    count: int
    """How many folds."""

    @abstractmethod
    def task(self, fold: int) -> Task:
        """Build the task of ``fold`` (from 0); every rank calls it."""

    @abstractmethod
    def write_splits(self, folder: Path) -> None:
        """Write which fold tests which sample, or compare it with what an earlier attempt wrote. Rank 0 calls it.

        Raises:
            DataError: The samples are not those that the folds on disk were made of.
        """

    @abstractmethod
    def summary(self, summaries: list[dict[str, Any]]) -> dict[str, Any]:
        """The task's part of the summary of all folds, from each fold's summary.json."""

    @abstractmethod
    def write(self, folder: Path, summary: dict[str, Any]) -> None:
        """Write the plots and tables of all folds together. Rank 0 calls it."""
