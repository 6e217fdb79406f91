"""How well a class's score puts its samples before all others: ROC and its area, precision over recall and its average.

One class against the rest, as scikit-learn's ``roc_auc_score``, ``roc_curve``, ``average_precision_score`` and
``precision_recall_curve`` have it on ``labels == class``:

- Equal scores are one threshold. A pair of a positive and a negative sample with equal scores counts half in the area
  (Fawcett, 2006, "An introduction to ROC analysis").
- Average precision is the sum over thresholds of (recall gained) * precision, without interpolation.
- A class without samples has neither; one that is all there is has no ROC. Both are None, where scikit-learn warns and
  gives NaN (average precision: 0), and averages are over the classes that have a value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.metrics.confusion import Counts, Scores
from trainer.metrics.thresholds import FloatScores, ThresholdCounts

CURVE_POINTS = 200
"""No curve that is kept has more."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a curve, x growing."""

    x: Scores
    """float64 [T]."""
    y: Scores
    """float64 [T]."""


NO_CURVE = Curve(np.zeros(0), np.zeros(0))


@dataclass(frozen=True, eq=False)
class ClassRanking:
    """One class against the rest."""

    auc: float | None
    average_precision: float | None
    roc: Curve
    """False positive rate and true positive rate; empty where there is no ``auc``."""
    precision_recall: Curve
    """Recall and precision; empty where there is no ``average_precision``."""


def class_rankings(scores: FloatScores, labels: Counts) -> Iterator[ClassRanking]:
    """Each class's ranking of all samples, in label order.

    Args:
        scores: Of each sample for each class [N, K], any floating type.
        labels: True classes, int64 [N].

    Raises:
        ValueError: A score is not a number.
    """
    for label in range(scores.shape[1]):
        yield class_ranking(ThresholdCounts.of_scores(scores[:, label], labels == label))


def class_ranking(counts: ThresholdCounts) -> ClassRanking:
    """Areas and thinned curves of one class."""
    return ClassRanking(auc(counts), average_precision(counts), roc_curve(counts), precision_recall_curve(counts))


def auc(counts: ThresholdCounts) -> float | None:
    """Area under the ROC curve: the share of pairs (positive, negative) in the right order, equal ones half.

    A quotient of whole numbers. None without such pairs.
    """
    if not counts.has_pairs:
        return None
    # Before each negative: all positives with a higher score, twice, and those with the same one, once.
    twice_in_order = int(counts.negatives @ (2 * np.cumsum(counts.positives) - counts.positives))
    return twice_in_order / (2 * counts.total_positives * counts.total_negatives)


def average_precision(counts: ThresholdCounts) -> float | None:
    """Precision at each threshold, weighed by the recall that it adds; None without samples of the class."""
    if not counts.total_positives:
        return None
    return float(counts.positives @ _precision(counts)) / counts.total_positives


def roc_curve(counts: ThresholdCounts, points: int = CURVE_POINTS) -> Curve:
    """The ROC curve from (0, 0) to (1, 1) with at most ``points`` points and the same area.

    Points on a straight line between their neighbours are left out; scikit-learn's ``drop_intermediate`` leaves out
    fewer, and neither changes the curve. Where more than ``points`` are left, every second one that is kept lies on the
    curve, at equal steps along it. The one between two of these need not: it is put where the area stays what it was,
    less than a step away from the curve, which takes 1 / 50 on both axes together.
    """
    if not counts.has_pairs:
        return NO_CURVE
    true, false = _from_zero(counts.positives), _from_zero(counts.negatives)
    corners = _corners(false, true)
    x, y = false[corners] / false[-1], true[corners] / true[-1]
    return Curve(x, y) if len(x) <= points else _same_area(x, y, points)


def precision_recall_curve(counts: ThresholdCounts, points: int = CURVE_POINTS) -> Curve:
    """Precision over recall with at most ``points`` points, to be drawn in steps: before each recall its precision.

    As scikit-learn's, it starts at recall 0 with precision 1. Thresholds that add no recall are left out. Where more
    than ``points`` are left, recall is cut into equal parts, each with its mean precision. Neither changes the area,
    which is the average precision.
    """
    if not counts.total_positives:
        return NO_CURVE
    gains = counts.positives > 0
    recall = np.cumsum(counts.positives)[gains] / counts.total_positives
    precision = _precision(counts)[gains]
    if len(recall) > points - 1:
        area = np.cumsum(np.diff(recall, prepend=0.0) * precision)
        marks = np.linspace(0.0, 1.0, points)
        at_marks = np.interp(marks, np.concatenate(([0.0], recall)), np.concatenate(([0.0], area)))
        recall, precision = marks[1:], np.diff(at_marks) / np.diff(marks)
    return Curve(np.concatenate(([0.0], recall)), np.concatenate(([1.0], precision)))


def mean_of_defined(values: Sequence[float | None], weights: Sequence[int] | None = None) -> float | None:
    """Mean of the values that are not None, each weighing the same or as ``weights`` says; None where there are none.

    Args:
        values: One a class [K].
        weights: Samples of each class [K], for the weighted average.
    """
    kept = [at for at, value in enumerate(values) if value is not None]
    shares = [1 if weights is None else weights[at] for at in kept]
    total = sum(shares)
    if total == 0:
        return None
    return sum(share * (values[at] or 0.0) for at, share in zip(kept, shares, strict=True)) / total


def _precision(counts: ThresholdCounts) -> Scores:
    """Share of positives among all samples down to each threshold [T]; each threshold has samples."""
    true, false = np.cumsum(counts.positives), np.cumsum(counts.negatives)
    precision: Scores = true / (true + false)
    return precision


def _from_zero(counts: Counts) -> Counts:
    return np.concatenate(([0], np.cumsum(counts)))


def _corners(x: Counts, y: Counts) -> Counts:
    """Positions of the ends and of all points that do not lie on the line between their neighbours."""
    across, up = np.diff(x), np.diff(y)
    turns = across[:-1] * up[1:] != across[1:] * up[:-1]
    return np.flatnonzero(np.concatenate(([True], turns, [True])))


def _same_area(x: Scores, y: Scores, points: int) -> Curve:
    """A growing curve [T] from (0, 0) to (1, 1) in at most ``points`` points.

    Inside the box between two neighbours on the curve, a path over a point of the falling diagonal has any area from
    none to all of the box, in proportion to the place on the diagonal; so the area under the curve decides the place.
    """
    at_x, at_y, area = _along(x, y, np.linspace(0.0, 2.0, (points + 1) // 2))
    across, up = np.diff(at_x), np.diff(at_y)
    box = across * up
    inside = np.diff(area) - across * at_y[:-1]
    share = np.clip(np.divide(inside, box, out=np.zeros_like(box), where=box > 0), 0.0, 1.0)
    thinned = np.empty((2, 2 * len(at_x) - 1))
    thinned[:, ::2] = at_x, at_y
    thinned[:, 1::2] = at_x[:-1] + (1 - share) * across, at_y[:-1] + share * up
    return Curve(*thinned)


def _along(x: Scores, y: Scores, marks: Scores) -> tuple[Scores, Scores, Scores]:
    """The points of a growing curve at ``marks`` of x + y, and the area under the curve up to each."""
    edge = np.clip(np.searchsorted(x + y, marks, side="right") - 1, 0, len(x) - 2)
    left_x, left_y = x[edge], y[edge]
    across, up = x[edge + 1] - left_x, y[edge + 1] - left_y
    share = np.clip((marks - left_x - left_y) / (across + up), 0.0, 1.0)
    share[0], share[-1] = 0.0, 1.0  # the ends are the curve's, whatever their sum rounds to
    at_x, at_y = left_x + share * across, left_y + share * up
    at_x[-1], at_y[-1] = x[-1], y[-1]
    areas = np.concatenate(([0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)))
    return at_x, at_y, areas[edge] + (at_x - left_x) * (at_y + left_y) / 2
