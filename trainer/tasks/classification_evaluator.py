"""Evaluation of a classifier: every sample once, whatever the number of ranks, kept as counts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from trainer.config.train import ImageClassification
from trainer.data.images import ImageSet
from trainer.data.loader import Loader
from trainer.exits import NonFiniteError
from trainer.losses import activation, class_probabilities, negative_log_probability
from trainer.metrics import accuracy, confusion_counts
from trainer.metrics.histogram import add_to_histogram, probability_edges
from trainer.metrics.top_k import true_class_ranks
from trainer.runtime.distributed import Ranks
from trainer.runtime.precision import autocast


@dataclass(frozen=True)
class Counts:
    """Counts over a whole split, the same on all ranks."""

    confusion: np.ndarray
    """int64 [classes, classes]; rows are true classes."""
    loss: float
    """Mean loss over samples."""
    histogram: np.ndarray | None = None
    """int64 [classes, 2, bins] (see ``trainer.metrics.histogram``) where areas come from histograms."""

    @property
    def accuracy(self) -> float:
        """Share of samples classified right."""
        return accuracy(self.confusion)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the model said of every sample of a split, in the split's order."""

    predicted: Tensor
    """int64 [N]."""
    confidence: Tensor
    """float64 [N], the probability of the predicted class."""
    loss: Tensor
    """float64 [N], the negative logarithm of the probability of the true class; always finite."""
    true_class_rank: Tensor
    """int64 [N], how many classes are likelier than the true one (see ``trainer.metrics.top_k``)."""
    probabilities: Tensor | None
    """float64 [N, classes]; None where areas come from histograms."""


class Evaluator:
    """Evaluates a classifier on splits."""

    def __init__(
        self,
        config: ImageClassification,
        model: nn.Module,
        loader: Loader,
        criterion: nn.Module,
        ranks: Ranks,
        *,
        classes: int,
    ) -> None:
        self._config = config
        self._model = model
        self._loader = loader
        self._ranks = ranks
        self._classes = classes
        self._criterion = criterion
        self._activation = activation(config.loss)

    def __call__(self, split: ImageSet) -> Counts:
        """Loss and confusion counts on ``split``."""
        return self._run(split)

    def with_predictions(self, split: ImageSet) -> tuple[Counts, Predictions | None]:
        """The same, with what was said of each sample on rank 0 (None on the others), and histograms where asked for.

        Raises:
            NonFiniteError: An output of the model is not a number.
        """
        exact = self._config.metrics.auc == "exact"
        said = _Said(self._classes, keep_probabilities=exact, histogram=None if exact else self._empty_histogram())
        counts = self._run(split, said)
        facts = self._merged(said.facts, len(split))
        probabilities = self._merged(said.probabilities, len(split)) if exact else None
        return counts, None if facts is None else _predictions(facts, probabilities)

    def _merged(self, rows: list[Tensor], samples: int) -> Tensor | None:
        """The rows of all ranks in the split's order, on rank 0; every rank has every so manieth sample."""
        mine = torch.cat(rows)
        rows.clear()  # as large as what they were joined to
        parts = self._ranks.gather_rows_at_first(mine)
        if parts is None:
            return None
        merged = mine.new_empty(samples, mine.shape[1])
        for rank, part in enumerate(parts):
            merged[rank :: self._ranks.world_size] = part
        return merged

    def _empty_histogram(self) -> Tensor:
        bins = self._config.metrics.histogram_bins
        return torch.zeros(self._classes, 2, bins, dtype=torch.int64, device=self._ranks.device)

    @torch.inference_mode()
    def _run(self, split: ImageSet, said: "_Said | None" = None) -> Counts:
        self._model.eval()
        device = self._ranks.device
        confusion = torch.zeros(self._classes, self._classes, dtype=torch.int64, device=device)
        loss_sum = torch.zeros(1, dtype=torch.float64, device=device)
        for batch in self._loader.evaluation(split):
            labels = batch.targets
            with autocast(self._config, device):
                logits = self._model(*batch.inputs)
                loss_sum += self._criterion(logits, labels).double()
            confusion += confusion_counts(logits.argmax(dim=1), labels, self._classes)
            if said:
                said.add(logits, labels, self._activation)
        self._ranks.sum(confusion)
        self._ranks.sum(loss_sum)
        histogram = self._ranks.sum(said.histogram).cpu().numpy() if said and said.histogram is not None else None
        return Counts(confusion.cpu().numpy(), float(loss_sum.item()) / max(len(split), 1), histogram)


class _Said:
    """What is kept of each sample of this rank, and the histogram of its probabilities."""

    def __init__(self, classes: int, *, keep_probabilities: bool, histogram: Tensor | None) -> None:
        # Never empty lists: a rank without a sample has rows of the right width, too.
        self.facts = [torch.empty(0, 4, dtype=torch.float64)]
        self.probabilities = [torch.empty(0, classes, dtype=torch.float64)]
        self.histogram = histogram
        self._keep_probabilities = keep_probabilities

    def add(self, logits: Tensor, labels: Tensor, activation: Literal["softmax", "sigmoid"]) -> None:
        """Keep a batch: logits [B, K] and labels int64 [B]."""
        probabilities = class_probabilities(logits, activation)
        facts = (
            logits.argmax(dim=1).double(),
            probabilities.amax(dim=1),
            negative_log_probability(logits, labels, activation),
            true_class_ranks(probabilities, labels).double(),
        )
        self.facts.append(torch.stack(facts, dim=1).cpu())
        if self._keep_probabilities:
            self.probabilities.append(probabilities.cpu())
        if self.histogram is not None:
            edges = probability_edges(self.histogram.shape[2]).to(logits.device)
            add_to_histogram(self.histogram, probabilities, labels, edges)


def _predictions(facts: Tensor, probabilities: Tensor | None) -> Predictions:
    """From what was kept of all samples, float64 [N, 4] and [N, classes]."""
    whole = facts.isfinite().all(dim=1)
    if not whole.all():
        raise NonFiniteError(f"the network's output for test sample {int(whole.int().argmin())} is not a finite number")
    predicted, confidence, loss, rank = facts.unbind(dim=1)
    return Predictions(predicted.long(), confidence, loss, rank.long(), probabilities)
