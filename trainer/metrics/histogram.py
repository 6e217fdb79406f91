"""Scores as counts in bins, which ranks add up by one all-reduce, and what the bins cost in accuracy.

A bin holds scores of an interval, so samples of different bins are in the order of their scores, and of the same bin in
an unknown order. The area under the ROC curve of the counts takes each pair (positive, negative) within a bin as half
right. The true area takes it as 0, half or 1. So the two differ by at most

    sum over bins of positives * negatives, over 2 * all positives * all negatives

whatever the scores are: scores that crowd into few bins make the stated bound wide, never wrong.
"""

import torch
from torch import Tensor

from trainer.metrics.thresholds import ThresholdCounts

LARGEST_LOGIT = 32.0


def probability_edges(bins: int) -> Tensor:
    """The bounds between ``bins`` bins of probabilities, float64 [bins - 1], never falling.

    They are evenly spaced in the logit, from -32 to 32, with all that lies beyond in the first and the last bin. A
    trained network is sure of most samples, so bins of equal width in the probability would tie nearly all of them; and
    float64 tells no probabilities apart above a logit of 37. The bounds are compared with the probabilities themselves:
    a logit computed from each could be rounded into the neighbouring bin, and the error would no longer be bounded.
    """
    logits = torch.linspace(-LARGEST_LOGIT, LARGEST_LOGIT, bins - 1, dtype=torch.float64)
    # Sorted, since torch's sigmoid does not promise to grow where neighbours differ by less than it rounds by.
    return logits.sigmoid().sort().values


def add_to_histogram(histogram: Tensor, scores: Tensor, labels: Tensor, edges: Tensor) -> None:
    """Count each class's scores into ``histogram``, in place.

    Args:
        histogram: int64 [K, 2, bins] on the device of the scores: of each class the samples that are not of it, then
            those that are, by bin, the lowest scores first.
        scores: [B, K], any floating type.
        labels: True classes, int64 [B].
        edges: Bounds between the bins, float64 [bins - 1], never falling.
    """
    classes, _, bins = histogram.shape
    label = torch.arange(classes, device=scores.device)
    row = 2 * label + (labels.unsqueeze(1) == label)
    cells = row * bins + torch.bucketize(scores.double(), edges)
    histogram.view(-1).index_add_(0, cells.flatten(), torch.ones_like(cells.flatten()))


def auc_error_bound(counts: ThresholdCounts) -> float | None:
    """How far the area under the ROC curve of binned counts can be from that of the scores; None without an area."""
    if not counts.has_pairs:
        return None
    tied = int(counts.positives @ counts.negatives)
    return tied / (2 * counts.total_positives * counts.total_negatives)
