"""Any image classifier of torchvision, from random weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from trainer.config.model import TorchvisionClassifier
from trainer.data.images import Shape
from trainer.exits import ConfigError


def build_torchvision_classifier(config: TorchvisionClassifier, input_shape: Shape, classes: int) -> nn.Module:
    """Build the model torchvision calls ``config.name`` with ``classes`` outputs.

    Raises:
        ConfigError: The model cannot take images of ``input_shape``.
    """
    from torchvision import models  # 1.2 s to import, and most models of this package do without

    _, height, width = input_shape
    with _size_errors(config.name, height, width, ValueError, AssertionError):
        arguments = _arguments(config.name, height, width)
        model: nn.Module = models.get_model(config.name, weights=None, num_classes=classes, **arguments)
    with _size_errors(config.name, height, width, RuntimeError):
        _dry_run(model, input_shape)
    return model


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
    if name in ("googlenet", "inception_v3"):
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
