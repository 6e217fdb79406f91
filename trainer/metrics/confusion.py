"""Confusion counts that ranks can add up, and what follows from them: accuracy, precision, recall, F1, averages.

Definitions follow scikit-learn's with ``labels=range(K)`` and ``zero_division=0``: a class that occurs neither among
labels nor predictions counts as 0.0 in the macro average.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


def confusion_counts(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count predictions by label: int64 [K, K] on the device of the input, true class by row, predicted by column.

    Args:
        predictions: Predicted classes, int64 [B].
        labels: True classes, int64 [B].
        classes: K.
    """
    return torch.bincount(labels * classes + predictions, minlength=classes * classes).view(classes, classes)


@dataclass(frozen=True, eq=False)
class ClassScores:
    """One value a class."""

    precision: Scores
    """Share of the predictions of a class that are right."""
    recall: Scores
    """Share of the samples of a class that are found."""
    f1: Scores
    """Harmonic mean of precision and recall."""
    support: Counts
    """Samples of a class."""


def accuracy(confusion: Counts) -> float:
    """Share of right predictions; 0.0 without samples."""
    return float(_ratio(np.trace(confusion), confusion.sum()))


def class_scores(confusion: Counts) -> ClassScores:
    """Precision, recall, F1 and support of each class of a confusion matrix [K, K]; 0.0 where undefined."""
    right, predicted, support = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    return ClassScores(
        precision=_ratio(right, predicted),
        recall=_ratio(right, support),
        f1=_ratio(2 * right, predicted + support),
        support=support,
    )


def macro_average(scores: ClassScores) -> dict[str, float]:
    """Mean over classes, each counting the same."""
    return {name: float(values.mean()) for name, values in _columns(scores)}


def weighted_average(scores: ClassScores) -> dict[str, float]:
    """Mean over classes, each counting as often as it occurs."""
    return {name: float(_ratio(values @ scores.support, scores.support.sum())) for name, values in _columns(scores)}


def micro_average(confusion: Counts) -> dict[str, float]:
    """Over all decisions; with one label a sample all three equal the accuracy."""
    return dict.fromkeys(("precision", "recall", "f1"), accuracy(confusion))


def classification_summary(confusion: Counts, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Everything above, ready for JSON.

    Returns:
        ``accuracy``, ``support``, the averages ``macro``, ``micro`` and ``weighted`` (precision, recall, f1), and
        ``classes``: a list in label order of class, precision, recall, f1 and support.
    """
    scores = class_scores(confusion)
    columns = zip(class_names, scores.precision, scores.recall, scores.f1, scores.support, strict=True)
    return {
        "accuracy": accuracy(confusion),
        "support": int(scores.support.sum()),
        "macro": macro_average(scores),
        "micro": micro_average(confusion),
        "weighted": weighted_average(scores),
        "classes": [
            {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in columns
        ],
    }


def classification_text(summary: dict[str, Any]) -> str:
    """A table of ``classification_summary``'s values for a terminal or a log, as scikit-learn prints it."""
    names = [row["class"] for row in summary["classes"]]
    width = max(len("weighted avg"), *map(len, names))
    lines = [f"{'':>{width}}  {'precision':>9} {'recall':>9} {'f1-score':>9} {'support':>9}", ""]
    lines += [_text_row(row["class"], row, row["support"], width) for row in summary["classes"]]
    total = summary["support"]
    lines += ["", f"{'accuracy':>{width}}  {'':>9} {'':>9} {summary['accuracy']:>9.4f} {total:>9}"]
    lines += [_text_row(f"{kind} avg", summary[kind], total, width) for kind in ("macro", "weighted")]
    return "\n".join(lines) + "\n"


def _text_row(name: str, values: dict[str, float], support: int, width: int) -> str:
    return f"{name:>{width}}  {values['precision']:>9.4f} {values['recall']:>9.4f} {values['f1']:>9.4f} {support:>9}"


def _columns(scores: ClassScores) -> tuple[tuple[str, Scores], ...]:
    return ("precision", scores.precision), ("recall", scores.recall), ("f1", scores.f1)


def _ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Scores:
    """Divide element by element; 0.0 where the denominator is 0."""
    above, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)
