"""A plain convolutional network for images of any size and number of channels."""

from torch import nn

from trainer.config.model import ConvNet
from trainer.data.images import Shape
from trainer.models.feed_forward import ACTIVATIONS


def build_convnet(config: ConvNet, input_shape: Shape, classes: int) -> nn.Module:
    """Blocks of 3x3 convolutions, each halved by a 2x2 max-pool, and a fully connected head.

    A block whose map is only one pixel high or wide is not pooled, so small images pass through any number of blocks.
    """
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for widths in config.blocks:
        for block_width in widths:
            layers += _convolution(config, channels, block_width)
            channels = block_width
        if min(height, width) >= 2:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), *_head(config, channels * height * width, classes))


def _convolution(config: ConvNet, channels: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=not config.batch_norm)]
    if config.batch_norm:
        layers.append(nn.BatchNorm2d(width))
    return [*layers, ACTIVATIONS[config.activation]()]


def _head(config: ConvNet, features: int, classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for hidden in (*config.hidden, classes):
        if config.dropout:
            layers.append(nn.Dropout(config.dropout))
        layers += [nn.Linear(features, hidden), ACTIVATIONS[config.activation]()]
        features = hidden
    return layers[:-1]  # logits have no activation
