"""The classifier of every family of torchvision is found and replaced."""

import re
from collections.abc import Iterable

import pytest
import torch
from torch import nn
from torchvision import models

from trainer.config.model import Head, TorchvisionClassifier
from trainer.config.torchvision_models import TORCHVISION_CLASSIFIERS
from trainer.models.head import ClassifierHead, head_name, replace_head
from trainer.models.torchvision_classifier import build_torchvision_classifier

# A small member of each family: its head, and an image that it can take.
HEADS = {
    "alexnet": ("classifier.6", 64),
    "convnext_tiny": ("classifier.2", 32),
    "densenet121": ("classifier", 32),
    "efficientnet_b0": ("classifier.1", 32),
    "efficientnet_v2_s": ("classifier.1", 32),
    "googlenet": ("fc", 32),
    "inception_v3": ("fc", 75),
    "maxvit_t": ("classifier.5", 224),
    "mnasnet0_5": ("classifier.1", 32),
    "mobilenet_v2": ("classifier.1", 32),
    "mobilenet_v3_small": ("classifier.3", 32),
    "regnet_x_400mf": ("fc", 32),
    "regnet_y_400mf": ("fc", 32),
    "resnet18": ("fc", 32),
    "resnext50_32x4d": ("fc", 32),
    "shufflenet_v2_x0_5": ("fc", 32),
    "squeezenet1_1": ("classifier.1", 32),
    "swin_t": ("head", 32),
    "swin_v2_t": ("head", 32),
    "vgg11": ("classifier.6", 32),
    "vit_b_32": ("heads.head", 224),
    "wide_resnet50_2": ("fc", 32),
}


def without_memory(name: str) -> nn.Module:
    """A model of torchvision whose parameters have shapes and no values."""
    arguments = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    # A RegNet computes its widths with tensors, which needs their values.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model: nn.Module = models.get_model(name, weights=None, **arguments)
    return model.to("meta").eval()


def _kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.children()]


def _replaced(name: str, head: Head) -> nn.Module:
    model = without_memory(name)
    replace_head(model, head, 5)
    return model.get_submodule(HEADS[name][0])


def test_every_family_of_torchvision_is_tried_here() -> None:
    def families(names: Iterable[str]) -> set[str]:
        return {re.split(r"[^a-z]", name)[0] for name in names}

    assert families(HEADS) == families(TORCHVISION_CLASSIFIERS)


@pytest.mark.parametrize("head", [Head(), Head(hidden=16, dropout=0.5)], ids=["linear", "hidden"])
@pytest.mark.parametrize("name", HEADS)
def test_every_familys_head_is_found_and_replaced(name: str, head: Head) -> None:
    model = without_memory(name)
    assert head_name(model) == HEADS[name][0]
    replace_head(model, head, 5)
    assert head_name(model) == HEADS[name][0]  # although the last Linear is deeper now
    size = HEADS[name][1]
    assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, 5)


def test_a_head_has_the_layers_asked_for() -> None:
    assert _kinds(_replaced("resnet18", Head())) == ["Linear"]
    assert _kinds(_replaced("resnet18", Head(dropout=0.5))) == ["Dropout", "Linear"]
    assert _kinds(_replaced("resnet18", Head(hidden=16))) == ["Linear", "ReLU", "Linear"]
    head = _replaced("resnet18", Head(hidden=16, dropout=0.5))
    assert _kinds(head) == ["Linear", "ReLU", "Dropout", "Linear"]
    shapes = [tuple(layer.weight.shape) for layer in head.children() if isinstance(layer, nn.Linear)]
    assert shapes == [(16, 512), (5, 16)]
    assert [layer.p for layer in head.children() if isinstance(layer, nn.Dropout)] == [0.5]


def test_a_network_that_averages_a_map_of_logits_keeps_convolutions() -> None:
    layers = list(_replaced("squeezenet1_1", Head(hidden=16)).children())
    assert [type(layer).__name__ for layer in layers] == ["Conv2d", "ReLU", "Conv2d"]
    assert [layer.kernel_size for layer in layers if isinstance(layer, nn.Conv2d)] == [(1, 1), (1, 1)]


def test_a_new_head_has_the_old_ones_device_and_dtype() -> None:
    model = nn.Sequential(nn.Linear(4, 3, dtype=torch.float64, device="meta"))
    replace_head(model, Head(hidden=2), 5)
    assert {(str(value.device), value.dtype) for value in model.parameters()} == {("meta", torch.float64)}


def test_the_seed_decides_the_head() -> None:
    def head(seed: int) -> torch.Tensor:
        model = nn.Sequential(nn.Linear(4, 3))
        torch.manual_seed(seed)
        replace_head(model, Head(hidden=6), 5)
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))


def test_a_network_without_a_layer_of_logits_is_refused() -> None:
    with pytest.raises(ValueError, match="has no layer that could give logits"):
        head_name(nn.Sequential(nn.Flatten()))


def test_a_classifier_is_built_with_the_head_asked_for() -> None:
    config = TorchvisionClassifier(name="mobilenet_v3_small", head=Head(hidden=8, dropout=0.1))
    model = build_torchvision_classifier(config, (3, 32, 32), 7)
    assert isinstance(model.get_submodule("classifier.3"), ClassifierHead)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_without_a_head_and_weights_the_network_is_torchvisions_bit_for_bit(name: str) -> None:
    torch.manual_seed(3)
    ours = build_torchvision_classifier(TorchvisionClassifier(name=name), (3, 64, 64), 7).state_dict()
    torch.manual_seed(3)
    theirs = models.get_model(name, weights=None, num_classes=7).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[entry], theirs[entry]) for entry in theirs)
