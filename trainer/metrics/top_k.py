"""Top-k accuracy from the place that each sample's true class takes."""

import numpy as np
import torch
from torch import Tensor

from trainer.metrics.confusion import Counts


def true_class_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes stand before the true one, int64 [B] on the device of the input.

    Of equal scores the higher class stands before the lower, as in scikit-learn's ``top_k_accuracy_score``. A predicted
    class is the lowest of equal ones (``argmax``), so at k = 1 ties make this differ from the accuracy.

    Args:
        scores: [B, K], any floating type.
        labels: True classes, int64 [B].
    """
    own = scores.gather(1, labels.unsqueeze(1))
    later = torch.arange(scores.shape[1], device=scores.device) > labels.unsqueeze(1)
    return ((scores > own) | ((scores == own) & later)).sum(dim=1)


def top_k_hits(ranks: Counts, k: int) -> int:
    """How many samples have their true class among the first ``k``; ``ranks`` as above, [N]."""
    return int(np.count_nonzero(ranks < k))
