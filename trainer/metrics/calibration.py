"""Whether a classifier is right as often as it says: reliability bins and calibration error of the predicted class.

Samples are put into bins of equal width by their confidence, the probability of the class that was predicted. The
expected calibration error is the mean over samples of the gap between their bin's accuracy and its mean confidence
(Naeini, Cooper and Hauskrecht, 2015, "Obtaining well calibrated probabilities using Bayesian binning"; for the top
label as in Guo et al., 2017, "On calibration of modern neural networks"); the maximum calibration error is the largest
gap of a bin. Bins are those of scikit-learn's ``calibration_curve``: open below, closed above.
"""

from dataclasses import dataclass

import numpy as np

from trainer.metrics.confusion import Counts, Scores
from trainer.metrics.thresholds import Flags

# Confidences are summed as whole multiples of this, so that the sum does not depend on the order of the samples; for up
# to 2^31 samples it fits into int64, and each confidence is off by at most 1.2e-10.
UNITS = 2**32


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """Samples by confidence, the least sure first; M bins."""

    edges: Scores
    """Bounds of the bins, 0 to 1, float64 [M + 1]."""
    count: Counts
    """Samples, int64 [M]."""
    right: Counts
    """Those that were classified right, int64 [M]."""
    confidence: Counts
    """Sum of the confidences in units of 2^-32, int64 [M]."""


def calibration_bins(confidence: Scores, is_right: Flags, bins: int) -> CalibrationBins:
    """Count samples by confidence.

    Args:
        confidence: Probability of the predicted class, 0 to 1, float64 [N].
        is_right: Whether it was the true one [N].
        bins: M.

    Raises:
        ValueError: A confidence is not within 0 and 1.
    """
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence: must be within 0 and 1")
    edges = np.linspace(0.0, 1.0, bins + 1)
    at = bin_of(confidence, edges)
    sums = np.zeros(bins, dtype=np.int64)
    np.add.at(sums, at, np.rint(confidence * UNITS).astype(np.int64))
    return CalibrationBins(
        edges=edges,
        count=np.bincount(at, minlength=bins),
        right=np.bincount(at[is_right], minlength=bins),
        confidence=sums,
    )


def bin_of(confidence: Scores, edges: Scores) -> Counts:
    """The bin of each confidence, int64 [N]; one on a bound belongs to the bin below it."""
    return np.searchsorted(edges[1:-1], confidence).astype(np.int64)


def expected_calibration_error(bins: CalibrationBins) -> float:
    """Mean gap of a sample's bin, 0 to 1; 0.0 without samples."""
    return int(_gaps(bins).sum()) / (UNITS * max(int(bins.count.sum()), 1))


def maximum_calibration_error(bins: CalibrationBins) -> float:
    """Largest gap of a bin that has samples, 0 to 1; 0.0 without any."""
    return float((_gaps(bins) / np.maximum(bins.count, 1)).max()) / UNITS


def _gaps(bins: CalibrationBins) -> Counts:
    """Of each bin, samples * |accuracy - mean confidence| in units of 2^-32."""
    gaps: Counts = np.abs(bins.right * UNITS - bins.confidence)
    return gaps
