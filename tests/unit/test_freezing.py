"""What is frozen stays as it is, bit by bit, and is thawed in steps."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torchvision import models
from torchvision.ops import StochasticDepth

from tests.unit.test_head import HEADS, without_memory
from trainer.config.model import (
    EfficientNetLite,
    FeedForward,
    Head,
    LstmSequenceToSequence,
    TorchvisionClassifier,
    TransferConfig,
)
from trainer.config.optim import AdamW
from trainer.exits import ConfigError
from trainer.models.efficientnet_lite import build_efficientnet_lite0
from trainer.models.freezing import Freezing
from trainer.models.head import head_name, replace_head
from trainer.optim import build_optimizer

SMALL = (3, 32, 32)


def _config(freeze: str = "none", *unfreeze: tuple[int, str], name: str = "resnet18") -> TransferConfig:
    stages = tuple({"epoch": epoch, "freeze": layer} for epoch, layer in unfreeze)
    return TorchvisionClassifier.model_validate({"name": name, "freeze": freeze, "unfreeze": stages})


def _network(name: str) -> nn.Module:
    if name == "efficientnet-lite0":
        return build_efficientnet_lite0(EfficientNetLite(name="efficientnet-lite0"), SMALL, 5)
    if name == "vit":  # torchvision's, small
        layers = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "dropout": 0.1}
        network: nn.Module = models.VisionTransformer(32, 16, **layers, num_classes=5)
    else:
        network = models.get_model(name, weights=None, num_classes=5)
    return network


def _trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _statistics(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            yield f"{name}.running_mean"
            yield f"{name}.running_var"
            yield f"{name}.num_batches_tracked"


def _train(model: nn.Module, freezing: Freezing, steps: int) -> torch.optim.Optimizer:
    optimizer = build_optimizer(AdamW(name="adamw", lr=0.01), model)
    for _ in range(steps):
        model.train()
        freezing.hold()
        optimizer.zero_grad()
        functional.cross_entropy(model(torch.randn(4, *SMALL)), torch.arange(4)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return optimizer


CASES = [
    ("resnet18", "layer2", "layer3"),
    ("mobilenet_v3_small", "features.5", "features.6"),
    ("efficientnet-lite0", "features.3", "features.4"),
    ("efficientnet-lite0", "all", "classifier"),
    ("vit", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"),
    ("vit", "all", "heads"),
]


@pytest.mark.parametrize(("name", "freeze", "first_trainable"), CASES)
def test_steps_of_an_optimizer_leave_what_is_frozen_bit_unchanged(name: str, freeze: str, first_trainable: str) -> None:
    torch.manual_seed(0)
    model = _network(name)
    freezing = Freezing.of(_config(freeze), model)
    assert freezing.enter(0)
    trainable = _trainable(model)
    names = [parameter for parameter, _ in model.named_parameters()]
    first = next(index for index, parameter in enumerate(names) if parameter.startswith(first_trainable))
    assert trainable == set(names[first:])  # and all before it, such as the class token, is frozen
    before = {entry: value.clone() for entry, value in model.state_dict().items()}
    optimizer = _train(model, freezing, steps=3)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for entry, parameter in model.named_parameters() if entry in trainable}
    # Statistics belong to the layer of their weight.
    learning = trainable | {entry for entry in _statistics(model) if f"{entry.rpartition('.')[0]}.weight" in trainable}
    moved = {entry for entry, value in model.state_dict().items() if not torch.equal(value, before[entry])}
    assert moved == learning


def test_without_hold_statistics_would_move() -> None:
    """So the test above can fail."""
    model = _network("resnet18")
    Freezing.of(_config("all"), model).enter(0)
    before = model.get_buffer("bn1.running_mean").clone()
    model.train()(torch.randn(4, *SMALL))
    assert not torch.equal(model.get_buffer("bn1.running_mean"), before)


def test_everything_in_a_frozen_layer_is_held_in_evaluation_and_nothing_else() -> None:
    model = _network("efficientnet-lite0")
    freezing = Freezing.of(_config("features.4"), model)
    freezing.enter(0)
    for _ in range(2):  # train() wakes all of them again
        model.train()
        freezing.hold()
        for name, module in model.named_modules():
            frozen = name.startswith(("input_transform", *(f"features.{stage}" for stage in range(5))))
            assert module.training is not frozen, name
    depths = [module.training for module in model.modules() if isinstance(module, StochasticDepth)]
    assert depths == [False] * 8 + [True] * 8


def test_with_all_frozen_only_a_new_heads_dropout_drops() -> None:
    model = _network("mobilenet_v3_small")
    replace_head(model, Head(hidden=4, dropout=0.5), 5)
    freezing = Freezing.of(_config("all"), model)
    freezing.enter(0)
    model.train()
    freezing.hold()
    dropping = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.training]
    assert dropping == ["classifier.3.2"]


@pytest.mark.parametrize("name", HEADS)
def test_all_leaves_exactly_the_head_of_every_family(name: str) -> None:
    model = without_memory(name)
    Freezing.of(_config("all", name=name), model).enter(0)
    head = head_name(model)
    assert _trainable(model) == {entry for entry, _ in model.named_parameters() if entry.startswith(f"{head}.")}


RESNET = without_memory("resnet18")
LAYERS = [name for name, _ in RESNET.named_modules() if name not in ("", "fc")]


@given(layer=st.sampled_from(LAYERS))
@settings(deadline=None)
def test_a_layer_freezes_itself_and_all_that_was_registered_before_it(layer: str) -> None:
    freezing = Freezing.of(_config(layer), RESNET)
    order = [name for name, _ in RESNET.named_modules()]
    until = order.index(layer)
    inside = {name for name in order if name.startswith(f"{layer}.")}
    expected = {
        f"{owner}.{name}"
        for owner in {*order[: until + 1], *inside}
        for name, _ in RESNET.get_submodule(owner).named_parameters(recurse=False)
    }
    assert freezing.stage(0).parameters == expected


@given(earlier=st.sampled_from(LAYERS), later=st.sampled_from(LAYERS))
@settings(deadline=None)
def test_a_later_stage_may_only_freeze_less(earlier: str, later: str) -> None:
    frozen = [Freezing.of(_config(layer), RESNET).stage(0).parameters for layer in (earlier, later)]
    config = _config("all", (2, earlier), (3, later))
    if frozen[1] <= frozen[0]:
        assert Freezing.of(config, RESNET).stage(2).parameters == frozen[1]
    else:
        with pytest.raises(
            ConfigError, match=rf"train\.model\.unfreeze\.1\.freeze: {later} freezes what {earlier} lets"
        ):
            Freezing.of(config, RESNET)


def test_a_class_token_is_frozen_with_anything() -> None:
    model = _network("vit")
    assert Freezing.of(_config("conv_proj"), model).enter(0)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"class_token", "conv_proj.weight", "conv_proj.bias"}


def test_layers_are_thawed_in_stages_and_a_resumed_run_joins_any_of_them() -> None:
    config = _config("all", (2, "layer3"), (4, "none"))
    model = _network("resnet18")
    freezing = Freezing.of(config, model)
    changes, sets = [], []
    for epoch in range(5):
        changes.append(freezing.enter(epoch))
        sets.append(_trainable(model))
        resumed = _network("resnet18")
        assert Freezing.of(config, resumed).enter(epoch) is (epoch < 3)  # at first, everything learns
        assert _trainable(resumed) == sets[-1]
    assert changes == [True, True, False, True, False]
    assert sets[0] == {"fc.weight", "fc.bias"}
    assert {name.split(".")[0] for name in sets[1]} == {"layer4", "fc"}
    assert sets[3] == {name for name, _ in model.named_parameters()}
    assert [freezing.stage(epoch).boundary for epoch in range(5)] == ["all", "layer3", "layer3", "none", "none"]


def test_a_thawed_layer_learns_and_its_statistics_move() -> None:
    model = _network("resnet18")
    freezing = Freezing.of(_config("all", (2, "layer3")), model)
    freezing.enter(0)
    _train(model, freezing, steps=1)
    before = {entry: value.clone() for entry, value in model.state_dict().items()}
    freezing.enter(1)
    _train(model, freezing, steps=1)
    moved = {
        entry.split(".")[0] for entry, value in model.state_dict().items() if not torch.equal(value, before[entry])
    }
    assert moved == {"layer4", "fc"}
    assert not torch.equal(model.get_buffer("layer4.0.bn1.running_mean"), before["layer4.0.bn1.running_mean"])


@pytest.mark.parametrize(
    "config",
    [FeedForward(name="feed-forward"), LstmSequenceToSequence(name="lstm-seq2seq"), _config("none")],
    ids=lambda config: config.name,
)
def test_nothing_is_frozen_unless_asked_for(config: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))
    model[0].bias.requires_grad_(False)  # what the network itself keeps from learning
    freezing = Freezing.of(config, model)
    assert not freezing.enter(0)
    assert not freezing.enter(7)
    model.train()
    freezing.hold()
    assert all(module.training for module in model.modules())
    assert _trainable(model) == {"0.weight", "2.weight", "2.bias"}


def test_an_unknown_layer_is_refused_with_those_meant_and_those_there_are() -> None:
    with pytest.raises(ConfigError) as error:
        Freezing.of(_config("layer_3"), RESNET)
    blocks = ", ".join(f"layer{layer}, layer{layer}.0, layer{layer}.1" for layer in range(1, 5))
    assert str(error.value).startswith("train.model.freeze: unknown layer 'layer_3'; did you mean layer3 or ")
    assert str(error.value).endswith(f"? (allowed none, all, conv1, bn1, {blocks}, or any layer inside these)")
    with pytest.raises(ConfigError, match=r"^train\.model\.unfreeze\.1\.freeze: unknown layer 'x' \(allowed"):
        Freezing.of(_config("all", (2, "layer3"), (3, "x")), RESNET)
    with pytest.raises(
        ConfigError, match=r"allowed none, all, features, features\.0, .*features\.12, classifier\.0, or"
    ):
        Freezing.of(_config("x"), _network("mobilenet_v3_small"))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier"),
        ("mobilenet_v3_small", "classifier.3"),
        ("squeezenet1_1", "classifier.2"),
        ("vit_b_32", "heads"),
    ],
)
def test_a_layer_that_includes_the_head_is_refused(name: str, layer: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.model\.freeze: {layer} includes the classifier .*all freezes"):
        Freezing.of(_config(layer, name=name), without_memory(name))


def test_a_part_of_a_new_head_cannot_be_frozen() -> None:
    model = without_memory("resnet18")
    replace_head(model, Head(hidden=8), 5)
    with pytest.raises(ConfigError, match=r"fc\.0 includes the classifier"):
        Freezing.of(_config("fc.0"), model)
