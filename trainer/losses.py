"""Loss functions. Each returns the SUM over the samples of its batch.

The engine divides by the size of the global batch: with a mean over a rank's or a micro-batch's own samples, ranks that
hold fewer samples would weigh too much, and the learning curve would depend on the number of ranks.
"""

from collections.abc import Callable

from torch import nn

from trainer.config.optim import CrossEntropy


def _cross_entropy(config: CrossEntropy) -> nn.Module:
    return nn.CrossEntropyLoss(reduction="sum", label_smoothing=config.label_smoothing)


LOSSES: dict[type, Callable[[CrossEntropy], nn.Module]] = {CrossEntropy: _cross_entropy}


def build_loss(config: CrossEntropy) -> nn.Module:
    """A module that maps logits float [B, K] and labels int64 [B] to the sum of the samples' losses (a scalar)."""
    return LOSSES[type(config)](config)
