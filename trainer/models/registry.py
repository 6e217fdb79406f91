"""Which function builds which model: a plain dict from the type of its config."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from trainer.config.imports import ImportedModel
from trainer.config.model import (
    ConvNet,
    EfficientNetLite,
    FeedForward,
    ImageModel,
    TorchvisionClassifier,
    Transformer,
)
from trainer.data.images import Shape
from trainer.models.convnet import build_convnet
from trainer.models.efficientnet_lite import build_efficientnet_lite0
from trainer.models.feed_forward import build_feed_forward
from trainer.models.imported import build_imported_model
from trainer.models.torchvision_classifier import build_torchvision_classifier
from trainer.models.transformer import build_transformer


@dataclass(frozen=True)
class ModelFamily:
    """How a kind of model is built and what it needs."""

    build: Callable[[Any, Shape, int], nn.Module]
    """From (config, input shape, classes) to a module that maps float [B, C, H, W] to logits [B, classes]."""
    channels: int | None = None
    """How many channels it insists on; None takes any."""


MODELS: dict[type, ModelFamily] = {
    FeedForward: ModelFamily(build_feed_forward),
    ConvNet: ModelFamily(build_convnet),
    Transformer: ModelFamily(build_transformer),
    EfficientNetLite: ModelFamily(build_efficientnet_lite0, channels=3),
    TorchvisionClassifier: ModelFamily(build_torchvision_classifier, channels=3),
    ImportedModel: ModelFamily(build_imported_model),
}


def required_channels(config: ImageModel) -> int | None:
    """How many channels images must have for this model; None: any."""
    return MODELS[type(config)].channels


def build_model(config: ImageModel, *, input_shape: Shape, classes: int) -> nn.Module:
    """Build the network on the default device, in training mode, weights drawn from torch's global generator.

    Args:
        config: Which network.
        input_shape: Channels, height and width (pixels) of its input, as ``Preprocess.output_shape`` gives it.
        classes: How many logits it returns.

    Raises:
        ConfigError: The network cannot take images of this size, or is the user's own and not what it has to be.
    """
    return MODELS[type(config)].build(config, input_shape, classes)
