"""Counts at each threshold of one class's score: what ROC, its area and average precision are computed from."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trainer.metrics.confusion import Counts

FloatScores = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ThresholdCounts:
    """Samples of one class and of all others at each distinct score, the highest score first.

    All that follows from the order of the scores follows from these whole numbers: no result depends on the order of
    the samples, and equal scores are one threshold, as scikit-learn's ``roc_curve`` has it.
    """

    positives: Counts
    """Samples of the class, int64 [T]."""
    negatives: Counts
    """Samples of other classes, int64 [T]."""

    @classmethod
    def of_scores(cls, scores: FloatScores, is_positive: Flags) -> Self:
        """Count by distinct score.

        Args:
            scores: [N], any floating type.
            is_positive: Whether a sample is of the class [N].

        Raises:
            ValueError: A score is not a number.
        """
        if np.isnan(scores).any():
            raise ValueError(f"score of sample {int(np.isnan(scores).argmax())} is not a number")
        if not len(scores):
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        order = np.argsort(scores)
        ranked = scores[order]
        starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
        positives = np.add.reduceat(is_positive[order].astype(np.int64), starts)
        samples = np.diff(starts, append=len(scores))
        return cls(positives[::-1], (samples - positives)[::-1])

    @classmethod
    def of_bins(cls, positives: Counts, negatives: Counts) -> Self:
        """From counts by bin, the bin of the lowest scores first; empty bins are no thresholds."""
        filled = np.flatnonzero(positives + negatives)[::-1]
        return cls(positives[filled], negatives[filled])

    @property
    def total_positives(self) -> int:
        """Samples of the class."""
        return int(self.positives.sum())

    @property
    def total_negatives(self) -> int:
        """Samples of other classes."""
        return int(self.negatives.sum())

    @property
    def has_pairs(self) -> bool:
        """Whether there is a sample of the class and one of another: without both, no ROC curve exists."""
        return self.total_positives > 0 and self.total_negatives > 0
