"""Fully connected layers, and the non-linearities that the models of this package share."""

import math
from collections.abc import Callable

from torch import nn

from trainer.config.model import Activation, FeedForward
from trainer.data.images import Shape

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def build_feed_forward(config: FeedForward, input_shape: Shape, classes: int) -> nn.Module:
    """Linear - [BatchNorm] - activation - [Dropout] for each hidden width, then a Linear to ``classes`` logits."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for hidden in config.hidden:
        layers.append(nn.Linear(width, hidden, bias=not config.batch_norm))  # BatchNorm brings its own offset
        if config.batch_norm:
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(ACTIVATIONS[config.activation]())
        if config.dropout:
            layers.append(nn.Dropout(config.dropout))
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, classes))
