"""Losses are sums, so that a batch may be cut into any shares."""

import pytest
import torch
from torch.nn import functional

from trainer.config.optim import CrossEntropy
from trainer.losses import build_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_sum_over_samples(smoothing: float) -> None:
    loss = build_loss(CrossEntropy(name="cross-entropy", label_smoothing=smoothing))
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    each = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, labels), each.sum())
    torch.testing.assert_close(loss(logits[:2], labels[:2]) + loss(logits[2:], labels[2:]), each.sum())
