"""Networks: every shape of input, and every family of torchvision."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from trainer.config.imports import ImportedModel
from trainer.config.model import ImageModel
from trainer.config.torchvision_models import TORCHVISION_CLASSIFIERS
from trainer.exits import ConfigError
from trainer.models import MODELS, build_model, required_channels

# One small member of each family, and the smallest image each can take.
FAMILIES = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 8,
    "efficientnet_v2_s": 8,
    "googlenet": 28,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mnasnet0_5": 8,
    "mobilenet_v2": 8,
    "mobilenet_v3_small": 8,
    "regnet_x_400mf": 8,
    "regnet_y_400mf": 8,
    "resnet18": 8,
    "resnext50_32x4d": 8,
    "shufflenet_v2_x0_5": 8,
    "squeezenet1_1": 28,
    "swin_t": 32,
    "swin_v2_t": 32,
    "vgg11": 32,
    "vit_b_32": 32,
    "wide_resnet50_2": 8,
}
TOO_SMALL = {"alexnet": 32, "convnext_tiny": 28, "densenet121": 28, "googlenet": 8, "inception_v3": 64, "vgg11": 28}


def _config(name: str, **fields: Any) -> ImageModel:
    config: ImageModel = TypeAdapter[ImageModel](ImageModel).validate_python({"name": name, **fields})
    return config


def _build(name: str, shape: tuple[int, int, int], **fields: Any) -> nn.Module:
    return build_model(_config(name, **fields), input_shape=shape, classes=7)


def _kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.children()]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (4, 5, 17), (1, 1, 1)])
@pytest.mark.parametrize("name", ["feed-forward", "convnet"])
def test_our_models_take_any_shape(name: str, shape: tuple[int, int, int]) -> None:
    assert _build(name, shape)(torch.randn(2, *shape)).shape == (2, 7)


def test_feed_forward_has_the_layers_asked_for() -> None:
    model = _build("feed-forward", (1, 4, 4), hidden=(5, 3), batch_norm=True, dropout=0.5, activation="gelu")
    hidden = ["Linear", "BatchNorm1d", "GELU", "Dropout"]
    assert _kinds(model) == ["Flatten", *hidden, *hidden, "Linear"]
    widths = [(layer.in_features, layer.out_features) for layer in model.children() if isinstance(layer, nn.Linear)]
    assert widths == [(16, 5), (5, 3), (3, 7)]


def test_feed_forward_without_hidden_layers_is_linear() -> None:
    assert _kinds(_build("feed-forward", (1, 4, 4), hidden=())) == ["Flatten", "Linear"]


def test_convnet_has_the_layers_asked_for() -> None:
    model = _build("convnet", (1, 8, 8), blocks=((4, 6), (8,)), hidden=(5,), dropout=0.1, activation="silu")
    convolution = ["Conv2d", "BatchNorm2d", "SiLU"]
    head = ["Flatten", "Dropout", "Linear", "SiLU", "Dropout", "Linear"]
    assert _kinds(model) == [*convolution, *convolution, "MaxPool2d", *convolution, "MaxPool2d", *head]


def test_convnet_stops_pooling_when_the_map_is_one_pixel() -> None:
    model = _build("convnet", (1, 4, 9), blocks=((2,),) * 5, hidden=())
    assert _kinds(model).count("MaxPool2d") == 2
    assert model(torch.randn(2, 1, 4, 9)).shape == (2, 7)


def test_a_convolution_has_an_offset_unless_batchnorm_brings_one() -> None:
    for batch_norm in (False, True):
        first = next(_build("convnet", (1, 8, 8), batch_norm=batch_norm).children())
        assert isinstance(first, nn.Conv2d)
        assert (first.bias is None) is batch_norm


def test_every_parameter_gets_a_gradient() -> None:
    for name in ("feed-forward", "convnet"):
        model = _build(name, (1, 8, 8), batch_norm=True, dropout=0.2)
        model(torch.randn(4, 1, 8, 8)).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_seed_decides_the_weights() -> None:
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(nn.utils.parameters_to_vector(_build("convnet", (1, 8, 8)).parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_networks_that_may_start_from_weights_of_photographs_insist_on_colour() -> None:
    names = ("feed-forward", "convnet", "transformer", "efficientnet-lite0", "resnet18")
    assert [required_channels(_config(name)) for name in names] == [None, None, None, 3, 3]
    assert MODELS[ImportedModel].channels is None
    assert len(MODELS) == len(names) + 1


@pytest.mark.parametrize("name", FAMILIES)
def test_every_torchvision_family_builds_at_its_smallest_size(name: str) -> None:
    size = FAMILIES[name]
    model = _build(name, (3, size, size))
    assert model.training


def test_every_family_of_the_list_is_tried_above() -> None:
    def families(names: Iterable[str]) -> set[str]:
        return {re.split(r"[^a-z]", name)[0] for name in names}

    assert families(TORCHVISION_CLASSIFIERS) == families(FAMILIES)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 32), ("googlenet", 32), ("inception_v3", 75), ("vit_b_32", 32)]
)
def test_training_mode_returns_logits_only(name: str, size: int) -> None:
    logits = _build(name, (3, size, size)).train()(torch.randn(2, 3, size, size))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(("name", "size"), TOO_SMALL.items())
def test_an_image_too_small_is_refused_with_a_size_that_works(name: str, size: int) -> None:
    message = f"{name} cannot take images of {size}x{size} pixels .*set train.data.image_size: 224"
    with pytest.raises(ConfigError, match=message):
        _build(name, (3, size, size))


@pytest.mark.parametrize(
    ("name", "shape"), [("vit_b_16", (3, 30, 30)), ("vit_b_16", (3, 32, 64)), ("maxvit_t", (3, 96, 96))]
)
def test_models_of_fixed_patches_refuse_other_sizes(name: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"set train\.data\.image_size: 224"):
        _build(name, shape)
