"""Any image classifier of torchvision, from random weights or from weights trained elsewhere."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainer.config.model import TorchvisionClassifier
from trainer.data.images import Shape
from trainer.exits import ConfigError
from trainer.models.head import replace_head
from trainer.models.pretrained import InputTransform, load_weights

# Their ImageNet weights were trained with pixels in -1..1, by TensorFlow.
_INCEPTION = ("googlenet", "inception_v3")
# torchvision's files of DenseNets write "norm.1" where today's modules are named "norm1".
_DENSENET_ENTRY = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def build_torchvision_classifier(config: TorchvisionClassifier, input_shape: Shape, classes: int) -> nn.Module:
    """Build the model torchvision calls ``config.name`` with ``classes`` outputs.

    The seed decides the head, whatever the weights: first all of the network is drawn, then weights are loaded into all
    but its head, and a head that is asked for is drawn last.

    Raises:
        ConfigError: The model cannot take images of ``input_shape``, or the weights are another network's.
        DataError: The file of weights cannot be read.
        InfrastructureError: The weights cannot be downloaded.
    """
    from torchvision import models  # 1.2 s to import, and most models of this package do without

    _, height, width = input_shape
    with _size_errors(config.name, height, width, ValueError, AssertionError):
        arguments = _arguments(config.name, height, width)
        model: nn.Module = models.get_model(config.name, weights=None, num_classes=classes, **arguments)
    with _size_errors(config.name, height, width, RuntimeError):
        _dry_run(model, input_shape)
    if config.name in _INCEPTION:
        _add_input_transform(model, pretrained=config.weights is not None)
    if config.weights:
        load_weights(model, config.weights, name=config.name, rename=_todays_name)
    if config.head:
        replace_head(model, config.head, classes)
    return model


def _add_input_transform(model: nn.Module, *, pretrained: bool) -> None:
    """Torchvision's ``transform_input``, but saved with the weights that need it."""
    transform = InputTransform()
    if pretrained:
        transform.expect(mean=0.5, std=0.5)
    model.add_module("input_transform", transform)
    model.register_forward_pre_hook(_transform_images)


def _transform_images(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    images: Tensor = model.get_submodule("input_transform")(inputs[0])
    return (images,)


def _todays_name(entry: str) -> str:
    return _DENSENET_ENTRY.sub(r"\1\2", entry)


@contextmanager
def _size_errors(name: str, height: int, width: int, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what torchvision raises for a size it cannot take into an error with the way out."""
    try:
        yield
    except kinds as error:
        raise ConfigError(
            f"train.model.name: {name} cannot take images of {height}x{width} pixels ({error}); "
            "set train.data.image_size: 224"
        ) from error


def _arguments(name: str, height: int, width: int) -> dict[str, Any]:
    """What some models must be told: the input's size, or to leave out heads that return more than logits."""
    if name.startswith("vit_"):
        if height != width:
            raise ValueError("it needs square images")
        return {"image_size": height}
    if name.startswith("maxvit_"):
        return {"input_size": (height, width)}
    if name in _INCEPTION:
        return {"aux_logits": False, "init_weights": True}  # without the second they warn that the default will change
    return {}


def _dry_run(model: nn.Module, input_shape: Shape) -> None:
    """Run shapes, not numbers, through ``model`` (0.02 to 0.1 s): raises what a real batch of this size would."""
    was_training = model.training
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    with torch.no_grad():
        functional_call(model.eval(), shapes, (torch.empty(2, *input_shape, device="meta"),))
    model.train(was_training)
