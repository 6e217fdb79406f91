"""Confidence intervals of the areas under curves: of ROC, and of precision over recall (average precision).

Both need to know how often a resample drew each sample. Per class and resample that is one running sum over the
negatives in the order of their scores, and one over the positives, which give both areas. Resamples stand side by side
in memory, so that numpy adds whole rows. 10,000 samples of 10 classes, 1,000 times, take about a second on one core.

With more than 10^9 of samples * classes * resamples nothing is drawn. The areas are nearly linear in the draws of that
many samples, so their distribution is nearly normal, with the variance that each sample's influence on the area has:
its derivative by the sample's weight (the infinitesimal jackknife; Efron, 1982, "The jackknife, the bootstrap and other
resampling plans", chapter 6). For the area under one ROC curve that is the variance of DeLong, DeLong and
Clarke-Pearson (1988). Classes share their samples, so influences are added up over classes before they are squared.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trainer.metrics.bootstrap import Interval, percentile_interval, resamples_at_once
from trainer.metrics.confusion import Counts, Scores
from trainer.metrics.thresholds import Flags, FloatScores

MOST_WORK = 10**9
"""Samples * classes * resamples beyond which no samples are drawn."""


@dataclass(frozen=True)
class AreaIntervals:
    """Intervals of means over classes; None where no class has the area."""

    auc: Interval | None
    average_precision: Interval | None


def macro_area_intervals(
    scores: FloatScores, labels: Counts, *, resamples: int, confidence: float, rng: np.random.Generator
) -> AreaIntervals:
    """Intervals of the mean one-vs-rest areas over the classes that have one.

    Args:
        scores: Of each sample for each class [N, K], any floating type.
        labels: True classes, int64 [N].
        resamples: How often to draw; with too much work (see above) nothing is drawn.
        confidence: Share of such intervals that hold the true value, 0 to 1.
        rng: Decides the draws.
    """
    if scores.size * resamples > MOST_WORK:
        return linear_area_intervals(scores, labels, confidence)
    aucs, average_precisions = resampled_macro_areas(scores, labels, resamples, rng)
    return AreaIntervals(percentile_interval(aucs, confidence), percentile_interval(average_precisions, confidence))


def resampled_macro_areas(
    scores: FloatScores, labels: Counts, resamples: int, rng: np.random.Generator
) -> tuple[Scores, Scores]:
    """Mean area under ROC and mean average precision of each resample, float64 [at most resamples] each.

    Means are over the classes that have the area in the resample; resamples in which none has it are left out.
    """
    classes = list(_ordered_classes(scores, labels))
    aucs, average_precisions = [np.zeros(0)], [np.zeros(0)]
    if classes:
        for drawn in _draw_counts(len(labels), resamples, rng):
            areas = np.array([ordered.areas(drawn) for ordered in classes])
            aucs.append(_means_of_defined(areas[:, 0]))
            average_precisions.append(_means_of_defined(areas[:, 1]))
    return np.concatenate(aucs), np.concatenate(average_precisions)


def linear_area_intervals(scores: FloatScores, labels: Counts, confidence: float) -> AreaIntervals:
    """The same intervals without draws, from each sample's influence on the mean areas."""
    auc, average_precision = _LinearMean(len(labels)), _LinearMean(len(labels))
    for ordered in _ordered_classes(scores, labels):
        average_precision.add(ordered, ordered.average_precision_influence())
        if len(ordered.negatives):
            auc.add(ordered, ordered.auc_influence())
    return AreaIntervals(auc.interval(confidence), average_precision.interval(confidence))


@dataclass(frozen=True, eq=False)
class _Influence:
    """An area, and its derivative by the weight of each sample."""

    area: float
    of_positives: Scores
    """[P], by score."""
    of_negatives: Scores
    """[N - P], by score."""


@dataclass(frozen=True, eq=False)
class _OrderedClass:
    """The samples of a class and all others, these by their score for it."""

    positives: Counts
    """Positions of its samples [P], by score."""
    negatives: Counts
    """Positions of all others [N - P], by score."""
    lower: Counts
    """Of each positive, how many negatives have a lower score [P]."""
    not_higher: Counts
    """Of each positive, how many negatives have a lower or the same score [P]."""
    own_lower: Counts
    """Of each positive, how many positives have a lower score [P]."""
    own_not_higher: Counts
    """Of each positive, how many positives have a lower or the same score, itself included [P]."""
    lower_positives: Counts
    """Of each negative, how many positives have a lower score [N - P]."""
    not_higher_positives: Counts
    """Of each negative, how many positives have a lower or the same score [N - P]."""

    @classmethod
    def of(cls, scores: FloatScores, is_positive: Flags) -> Self:
        order = np.argsort(scores, kind="stable")
        positives, negatives = order[is_positive[order]], order[~is_positive[order]]
        above, below = scores[positives], scores[negatives]
        return cls(
            positives,
            negatives,
            np.searchsorted(below, above, side="left"),
            np.searchsorted(below, above, side="right"),
            np.searchsorted(above, above, side="left"),
            np.searchsorted(above, above, side="right"),
            np.searchsorted(above, below, side="left"),
            np.searchsorted(above, below, side="right"),
        )

    def areas(self, drawn: Counts) -> tuple[Scores, Scores]:
        """Area under ROC and average precision of each resample [R] from how often it drew each sample [N, R].

        NaN where a resample has no pair of a positive and a negative, or no positive.
        """
        positives = drawn[self.positives]
        positives_below, negatives_below = _sums_below(positives), _sums_below(drawn[self.negatives])
        all_positives, all_negatives = positives_below[-1], negatives_below[-1]
        lower = negatives_below[self.lower]

        twice_in_order = (positives * (lower + negatives_below[self.not_higher])).sum(axis=0)
        auc = _quotients(twice_in_order, 2 * all_positives * all_negatives)

        # At the threshold of each positive. What was not drawn counts 0 times, so its precision may be anything.
        found = all_positives - positives_below[self.own_lower]
        precision = found / np.maximum(found + all_negatives - lower, 1)
        return auc, _quotients((positives * precision).sum(axis=0), all_positives)

    def auc_influence(self) -> _Influence:
        """Of the area under ROC. What a sample adds is the share of the other kind that it is in order with."""
        positives, negatives = len(self.positives), len(self.negatives)
        of_positives = (self.lower + self.not_higher) / (2 * negatives)
        of_negatives = 1 - (self.lower_positives + self.not_higher_positives) / (2 * positives)
        area = float(of_positives.mean())
        return _Influence(area, (of_positives - area) / positives, (of_negatives - area) / negatives)

    def average_precision_influence(self) -> _Influence:
        """Of the average precision.

        A sample changes the precision at the thresholds of all positives with a score up to its own: a positive raises
        it, a negative lowers it. A positive also adds the precision at its own threshold.
        """
        positives = len(self.positives)
        found, wrong = positives - self.own_lower, len(self.negatives) - self.lower
        named = found + wrong
        precision = found / named
        raised, lowered = _sums_below(wrong / named**2), _sums_below(found / named**2)
        area = float(precision.mean())
        of_positives = (precision - area + raised[self.own_not_higher]) / positives
        return _Influence(area, of_positives, -lowered[self.not_higher_positives] / positives)


class _LinearMean:
    """The mean of areas of several classes, and each sample's influence on it."""

    def __init__(self, samples: int) -> None:
        self._influence = np.zeros(samples)
        self._areas: list[float] = []

    def add(self, ordered: _OrderedClass, influence: _Influence) -> None:
        self._influence[ordered.positives] += influence.of_positives
        self._influence[ordered.negatives] += influence.of_negatives
        self._areas.append(influence.area)

    def interval(self, confidence: float) -> Interval | None:
        """Within 0 and 1; None without areas."""
        if not self._areas:
            return None
        mean = math.fsum(self._areas) / len(self._areas)
        deviation = math.sqrt(float(self._influence @ self._influence)) / len(self._areas)
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * deviation
        return max(mean - reach, 0.0), min(mean + reach, 1.0)


def _ordered_classes(scores: FloatScores, labels: Counts) -> Iterator[_OrderedClass]:
    """The classes that have samples, one after the other."""
    for label in range(scores.shape[1]):
        is_positive = labels == label
        if is_positive.any():
            yield _OrderedClass.of(scores[:, label], is_positive)


def _draw_counts(samples: int, resamples: int, rng: np.random.Generator) -> Iterator[Counts]:
    """How often each sample was drawn, int64 [samples, R], in parts of R resamples."""
    for part in resamples_at_once(samples, resamples):
        places = rng.integers(0, samples, (samples, part)) * part + np.arange(part)
        yield np.bincount(places.ravel(), minlength=samples * part).reshape(samples, part)


def _sums_below(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of the rows [n, ...] the sum of the first 0, 1, ..., n [n + 1, ...]."""
    sums = np.zeros((len(values) + 1, *values.shape[1:]), dtype=values.dtype)
    np.cumsum(values, axis=0, out=sums[1:])
    return sums


def _quotients(above: Counts | Scores, below: Counts) -> Scores:
    """NaN where ``below`` is 0."""
    quotients: Scores = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return quotients


def _means_of_defined(areas: Scores) -> Scores:
    """The mean of each column [K, R] over what is not NaN; columns of NaN alone are left out."""
    defined = ~np.isnan(areas)
    sums, there = np.where(defined, areas, 0.0).sum(axis=0), defined.sum(axis=0)
    means: Scores = sums[there > 0] / there[there > 0]
    return means
