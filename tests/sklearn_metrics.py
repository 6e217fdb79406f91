"""What scikit-learn says of a classifier's predictions, in the form in which the trainer writes it down."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as sk

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Outputs:
    """A tested split: probabilities float64 [N, K] with ties, labels int64 [N], of which some classes may be absent."""

    probabilities: Probabilities
    labels: Labels

    @property
    def classes(self) -> int:
        return int(self.probabilities.shape[1])

    @property
    def predicted(self) -> Labels:
        predicted: Labels = self.probabilities.argmax(axis=1)
        return predicted


def draw_logits(
    rng: np.random.Generator, samples: int, classes: int, absent: tuple[int, ...]
) -> tuple[Probabilities, Labels]:
    """Whole logits from 0 to 7 of which many rows are equal, and labels that they tell something of."""
    present = [label for label in range(classes) if label not in absent]
    labels = rng.choice(present, samples)
    logits = rng.integers(0, 6, (samples // 3 + 1, classes))[rng.integers(0, samples // 3 + 1, samples)]
    logits[np.arange(samples), labels] += rng.integers(0, 3, samples)
    return logits.astype(np.float64), labels


def softmax(logits: Probabilities) -> Probabilities:
    """By rows."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Probabilities = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def scores(tested: Outputs, *, top_k: tuple[int, ...], bins: int) -> dict[str, float]:
    """Final metrics by name."""
    labels, known = tested.labels, range(tested.classes)
    _, _, f1, _ = sk.precision_recall_fscore_support(
        labels, tested.predicted, labels=known, average="macro", zero_division=0
    )
    named = {"accuracy": sk.accuracy_score(labels, tested.predicted), "macro_f1": f1}
    for k in top_k:
        if k < tested.classes:
            named[f"top_{k}_accuracy"] = sk.top_k_accuracy_score(labels, tested.probabilities, k=k, labels=known)
    for name, values in areas(tested).items():
        if defined := [value for value in values if value is not None]:
            named[f"macro_{name}"] = np.mean(defined)
    return {**named, "calibration_error": calibration_error(tested, bins)}


def areas(tested: Outputs) -> dict[str, list[float | None]]:
    """One-vs-rest areas of each class; None where scikit-learn would warn."""
    aucs: list[float | None] = []
    average_precisions: list[float | None] = []
    for label in range(tested.classes):
        positive, score = tested.labels == label, tested.probabilities[:, label]
        aucs.append(sk.roc_auc_score(positive, score) if 0 < positive.sum() < len(positive) else None)
        average_precisions.append(sk.average_precision_score(positive, score) if positive.any() else None)
    return {"auc": aucs, "average_precision": average_precisions}


def report(tested: Outputs) -> dict[str, Any]:
    """The classification report: each class and the averages macro, micro, weighted."""
    labels, predicted, known = tested.labels, tested.predicted, range(tested.classes)
    by_class = areas(tested)
    columns = sk.precision_recall_fscore_support(labels, predicted, labels=known, zero_division=0)
    support = columns[3]
    found: dict[str, Any] = {"classes": [], "support": len(labels)}
    for row in zip(*columns, *by_class.values(), strict=True):
        found["classes"].append(dict(zip(("precision", "recall", "f1", "support", *by_class), row, strict=True)))
    for average in ("macro", "micro", "weighted"):
        values = sk.precision_recall_fscore_support(labels, predicted, labels=known, average=average, zero_division=0)
        found[average] = dict(zip(("precision", "recall", "f1"), values[:3], strict=True))
    for name, of_classes in by_class.items():
        there = [label for label, value in enumerate(of_classes) if value is not None]
        if there:
            values = [of_classes[label] for label in there]
            found["macro"][name] = np.mean(values)
            found["weighted"][name] = np.average(values, weights=support[there])
    return found


def calibration_error(tested: Outputs, bins: int) -> float:
    """Sum over bins (lower, upper] of |samples that are right - sum of their confidences|, over all samples."""
    confidence, right = tested.probabilities.max(axis=1), tested.predicted == tested.labels
    edges = np.linspace(0, 1, bins + 1)
    gap = 0.0
    for number, (lower, upper) in enumerate(pairwise(edges)):
        inside = (confidence <= upper) & ((confidence > lower) | (number == 0))
        gap += abs(right[inside].sum() - confidence[inside].sum())
    return gap / len(confidence)


def assert_equal(found: dict[str, Any], labels: Labels, *, top_k: tuple[int, ...] = (5,), bins: int = 15) -> None:
    """Hold what ``tests.evaluated.evaluate`` gave against scikit-learn, all of it.

    Args:
        found: With the probabilities.
        labels: True classes [N].
        top_k: ``train.metrics.top_k``.
        bins: ``train.metrics.calibration_bins``.
    """
    tested = Outputs(np.array(found["probabilities"]), labels)
    confusion = sk.confusion_matrix(labels, tested.predicted, labels=range(tested.classes))
    assert found["confusion"] == confusion.tolist()
    assert found["scores"] == _near(scores(tested, top_k=top_k, bins=bins))
    expected = report(tested)
    for average in ("macro", "micro", "weighted"):
        there = {name: value for name, value in found["report"][average].items() if value is not None}
        assert there == _near(expected[average])
    for mine, theirs in zip(found["report"]["classes"], expected["classes"], strict=True):
        assert _filled(mine[name] for name in theirs) == _near(_filled(theirs.values()))
    for curve, name in (("roc", "auc"), ("precision_recall", "average_precision")):
        mine = _filled(row[name] for row in found["evaluation"][curve]["classes"])
        assert mine == _near(_filled(areas(tested)[name]))
    assert found["evaluation"]["calibration"]["error"] == _near(calibration_error(tested, bins))


def _filled(values: Iterable[float | None]) -> list[float]:
    """With a number that no metric has in the place of None, which pytest cannot compare."""
    return [-1.0 if value is None else value for value in values]


def _near(expected: Any) -> Any:
    return pytest.approx(expected, rel=0, abs=TOLERANCE)
