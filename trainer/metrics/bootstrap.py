"""Confidence intervals by resampling the samples (percentile bootstrap; Efron and Tibshirani, 1993, chapter 13).

A resample draws as many samples as there are, with replacement, and the metric is computed of it anew; the bounds are
quantiles of these values. Nothing is recomputed from rows where counts decide:

- An accuracy depends on the number of hits, which is binomial.
- F1 depends on the confusion matrix, whose cells are multinomial. The cost does not grow with the samples.
- The calibration error depends on counts and summed confidences of bins. Confidences are kept to 1 / 64 of a bin's
  width, as means of such narrow cells, whose counts are multinomial; again the samples cost nothing. What is lost is
  the spread of confidences inside a cell, thousands of times less than that of being right or wrong.
- Areas under curves need the samples: ``trainer.metrics.bootstrap_areas``.

A resample for which the metric is not defined (no class with both kinds of samples) is left out. The calibration error
of few samples is too high on average, and that of a resample of them once more: its interval may lie above the value.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.metrics.calibration import bin_of
from trainer.metrics.confusion import Counts, Scores
from trainer.metrics.thresholds import Flags

Interval = tuple[float, float]

CELLS_IN_A_BIN = 64
# Counts of resamples held at once: a few MB, which caches hold.
_AT_ONCE = 2**19


def percentile_interval(values: Scores, confidence: float) -> Interval | None:
    """The middle ``confidence`` (0 to 1) of resampled values; None where there are none."""
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def resampled_shares(hits: int, samples: int, resamples: int, rng: np.random.Generator) -> Scores:
    """Share of hits, such as an accuracy, of each resample, float64 [resamples]; empty without samples."""
    if samples == 0:
        return np.zeros(0)
    return rng.binomial(samples, hits / samples, resamples) / samples


def resampled_macro_f1(confusion: Counts, resamples: int, rng: np.random.Generator) -> Scores:
    """Mean F1 over all classes of each resample, float64 [resamples]; empty without samples.

    Args:
        confusion: int64 [K, K], true class by row.
        resamples: How often to draw.
        rng: Decides the draws.
    """
    true, predicted = np.nonzero(confusion)
    cells = confusion[true, predicted]
    values = []
    for drawn in _multinomial(cells, resamples, rng):
        right = np.zeros((len(drawn), len(confusion)), dtype=np.int64)
        hits = true == predicted
        right[:, true[hits]] = drawn[:, hits]
        named = _sums(drawn, true, len(confusion)) + _sums(drawn, predicted, len(confusion))
        values.append((2 * right / np.maximum(named, 1)).mean(axis=1))
    return _joined(values)


def resampled_calibration_errors(
    confidence: Scores, is_right: Flags, bins: int, resamples: int, rng: np.random.Generator
) -> Scores:
    """Expected calibration error of each resample, float64 [resamples]; empty without samples.

    Args:
        confidence: Probability of the predicted class, 0 to 1, float64 [N].
        is_right: Whether it was the true one [N].
        bins: Of equal width.
        resamples: How often to draw.
        rng: Decides the draws.
    """
    cell = 2 * bin_of(confidence, np.linspace(0.0, 1.0, bins * CELLS_IN_A_BIN + 1)) + is_right
    filled, member, samples = np.unique(cell, return_inverse=True, return_counts=True)
    gap = np.bincount(member, weights=is_right - confidence) / samples
    in_bin = filled // (2 * CELLS_IN_A_BIN)
    values = [
        np.abs(_sums(drawn * gap, in_bin, bins)).sum(axis=1) / len(confidence)
        for drawn in _multinomial(samples, resamples, rng)
    ]
    return _joined(values)


def _multinomial(cells: Counts, resamples: int, rng: np.random.Generator) -> Iterator[Counts]:
    """Counts of the cells [C] in resamples of all their samples, int64 [R, C], in parts of R resamples."""
    if not len(cells):
        return
    samples = int(cells.sum())
    for part in resamples_at_once(len(cells), resamples):
        yield rng.multinomial(samples, cells / samples, part)


def resamples_at_once(width: int, resamples: int) -> Iterator[int]:
    """``resamples`` in parts: as many at a time as fit into caches with ``width`` counts each."""
    step = max(1, _AT_ONCE // max(width, 1))
    for done in range(0, resamples, step):
        yield min(step, resamples - done)


def _sums(values: npt.NDArray[Any], group: Counts, groups: int) -> npt.NDArray[Any]:
    """Sums of the columns of ``values`` [R, C] that belong to each group [R, groups]."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sums = np.zeros((len(values), groups), dtype=values.dtype)
    sums[:, group[order][starts]] = np.add.reduceat(values[:, order], starts, axis=1)
    return sums


def _joined(values: list[Scores]) -> Scores:
    return np.concatenate(values) if values else np.zeros(0)
