"""EfficientNet-Lite0 is the reference's network: its layers, its padding, its entries."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from trainer.config.model import EfficientNetLite, Head
from trainer.models.efficientnet_lite import EfficientNetLite0, build_efficientnet_lite0

# efficientnet_lite_builder.py of TensorFlow's TPU repository: repeats, kernel, stride, expansion, channels in and out.
REFERENCE = ["r1_k3_s1_e1_i32_o16", "r2_k3_s2_e6_i16_o24", "r2_k5_s2_e6_i24_o40", "r3_k3_s2_e6_i40_o80"]
REFERENCE += ["r3_k5_s1_e6_i80_o112", "r4_k5_s2_e6_i112_o192", "r1_k3_s1_e6_i192_o320"]


def _build(classes: int = 5, **fields: object) -> EfficientNetLite0:
    config = EfficientNetLite.model_validate({"name": "efficientnet-lite0", **fields})
    model = build_efficientnet_lite0(config, (3, 224, 224), classes)
    assert isinstance(model, EfficientNetLite0)
    return model


@cache
def _without_memory() -> EfficientNetLite0:
    with torch.device("meta"):
        return _build().eval()


def _blocks() -> Iterator[tuple[int, int, int, int, int]]:
    """Kernel, stride, expansion, channels in and out of each block of the reference."""
    for text in REFERENCE:
        repeats, kernel, stride, expansion, inputs, outputs = (int(part[1:]) for part in text.split("_"))
        yield kernel, stride, expansion, inputs, outputs
        for _ in range(repeats - 1):
            yield kernel, 1, expansion, outputs, outputs


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    values = {f"{name}.{entry}": (width,) for entry in ("weight", "bias", "running_mean", "running_var")}
    return {**values, f"{name}.num_batches_tracked": ()}


def _reference_shapes() -> dict[str, tuple[int, ...]]:
    """Entries of the published file: efficientnet-pytorch's names."""
    shapes = {"_conv_stem.weight": (32, 3, 3, 3), **_norm("_bn0", 32)}
    for index, (kernel, _, expansion, inputs, outputs) in enumerate(_blocks()):
        block, width = f"_blocks.{index}", inputs * expansion
        if expansion > 1:
            shapes |= {f"{block}._expand_conv.weight": (width, inputs, 1, 1), **_norm(f"{block}._bn0", width)}
        shapes |= {f"{block}._depthwise_conv.weight": (width, 1, kernel, kernel), **_norm(f"{block}._bn1", width)}
        shapes |= {f"{block}._project_conv.weight": (outputs, width, 1, 1), **_norm(f"{block}._bn2", outputs)}
    shapes |= {"_conv_head.weight": (1280, 320, 1, 1), **_norm("_bn1", 1280)}
    return {**shapes, "_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def _published(path: Path) -> dict[str, Tensor]:
    """A file of weights such as the published one, each tensor of other values."""
    torch.manual_seed(0)
    tensors = {name: torch.rand(shape) + 0.1 for name, shape in _reference_shapes().items()}
    tensors |= {name: tensors[name].long() for name in tensors if name.endswith("num_batches_tracked")}
    save_file(tensors, path)
    return tensors


def test_it_has_as_many_parameters_as_published() -> None:
    assert sum(parameter.numel() for parameter in _build(1000).parameters()) == 4_652_008


def test_every_entry_of_the_published_file_is_used_and_none_is_missing(tmp_path: Path) -> None:
    published = _published(tmp_path / "lite0.safetensors")
    assert len(published) == 296
    torch.manual_seed(1)
    fresh = _build(7).state_dict()
    torch.manual_seed(1)
    loaded = _build(7, weights=str(tmp_path / "lite0.safetensors")).state_dict()  # an entry left over is an error
    unchanged = {name for name, value in loaded.items() if torch.equal(value, fresh[name])}
    counters = {name for name in loaded if name.endswith("num_batches_tracked")}
    assert unchanged - counters == {"classifier.1.weight", "classifier.1.bias"}


def test_layers_follow_each_other_as_in_the_reference(tmp_path: Path) -> None:
    """The published names put to work by hand give the same logits: nothing is swapped, and padding is TensorFlow's."""
    weights = _published(tmp_path / "lite0.safetensors")

    def convolution(x: Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        x = _tensorflow_convolution(x, weights[f"{name}.weight"], stride, groups)
        mean, var, scale, shift = (
            weights[f"{norm}.{entry}"] for entry in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, var, scale, shift, eps=1e-3)

    model = _build(1000, weights=str(tmp_path / "lite0.safetensors")).eval()
    model.get_submodule("classifier.1").load_state_dict({k: weights[f"_fc.{k}"] for k in ("weight", "bias")})
    pixels = torch.rand(2, 3, 75, 64)
    x = convolution((255 * pixels - 127) / 128, "_conv_stem", "_bn0", stride=2).clamp(0, 6)
    for index, (_, stride, expansion, inputs, outputs) in enumerate(_blocks()):
        y, block = x, f"_blocks.{index}"
        if expansion > 1:
            y = convolution(y, f"{block}._expand_conv", f"{block}._bn0").clamp(0, 6)
        y = convolution(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, y.shape[1]).clamp(0, 6)
        y = convolution(y, f"{block}._project_conv", f"{block}._bn2")
        x = x + y if stride == 1 and inputs == outputs else y
    x = convolution(x, "_conv_head", "_bn1").clamp(0, 6).mean((2, 3))
    expected = functional.linear(x, weights["_fc.weight"], weights["_fc.bias"])
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        torch.testing.assert_close(model((pixels - mean) / std), expected, rtol=1e-4, atol=1e-4)


def _tensorflow_convolution(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    kernel = weight.shape[-1]
    for dim in (-2, -1):  # TensorFlow's definition of "SAME"
        total = max((math.ceil(x.shape[dim] / stride) - 1) * stride + kernel - x.shape[dim], 0)
        before, after = total // 2, total - total // 2
        x = functional.pad(x, (before, after, 0, 0) if dim == -1 else (0, 0, before, after))
    return functional.conv2d(x, weight, stride=stride, groups=groups)


def test_own_names_are_accepted_too(tmp_path: Path) -> None:
    trained = _build(3)
    save_file(trained.state_dict(), tmp_path / "own.safetensors")
    loaded = _build(7, weights=str(tmp_path / "own.safetensors"))
    for name, value in trained.features.state_dict().items():
        assert torch.equal(loaded.features.state_dict()[name], value)


@given(height=st.integers(32, 260), width=st.integers(32, 260))
@example(height=32, width=32)
@example(height=224, width=224)
@example(height=33, width=255)
@settings(max_examples=10, deadline=None)
def test_any_image_is_taken_and_each_stride_rounds_up(height: int, width: int) -> None:
    features = _without_memory().features(torch.empty(2, 3, height, width, device="meta"))
    assert features.shape == (2, 1280, math.ceil(height / 32), math.ceil(width / 32))


def test_there_is_no_squeeze_and_excitation_and_only_relu6() -> None:
    kinds = {type(module).__name__ for module in _without_memory().modules()}
    containers = {"EfficientNetLite0", "Sequential", "_Block"}
    body = {"InputTransform", "_SameConvolution", "BatchNorm2d", "ReLU6", "StochasticDepth"}
    assert kinds == containers | body | {"AdaptiveAvgPool2d", "Dropout", "Linear"}


def test_later_blocks_are_skipped_more_often() -> None:
    chances = [module.p for module in _without_memory().modules() if isinstance(module, StochasticDepth)]
    assert chances == pytest.approx([0.2 * index / 16 for index in range(16)])


def test_norms_have_the_papers_epsilon() -> None:
    assert {module.eps for module in _without_memory().modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}


def test_it_can_be_exported_and_gives_the_same_logits_for_any_batch() -> None:
    model, images = _build().eval(), torch.randn(2, 3, 33, 48)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    images = torch.randn(5, 3, 33, 48)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), model(images))


def test_a_head_is_replaced_and_drawn_the_same_with_and_without_weights(tmp_path: Path) -> None:
    _published(tmp_path / "lite0.safetensors")
    heads = []
    for weights in (None, str(tmp_path / "lite0.safetensors")):
        torch.manual_seed(4)
        model = _build(7, weights=weights, head=Head(hidden=8))
        heads.append(nn.utils.parameters_to_vector(model.get_submodule("classifier.1").parameters()))
    assert torch.equal(*heads)


def test_a_saved_network_brings_what_its_weights_need(tmp_path: Path) -> None:
    """Loaded into a network that knows of no weights, as a prediction does, or as weights of another training."""
    _published(tmp_path / "lite0.safetensors")
    trained = _build(weights=str(tmp_path / "lite0.safetensors"))
    restored = _build()
    assert restored.input_transform.scale.flatten().tolist() == [1, 1, 1]
    restored.load_state_dict(trained.state_dict())
    assert torch.equal(restored.input_transform.shift, trained.input_transform.shift)
    save_file(_build().state_dict(), tmp_path / "scratch.safetensors")
    assert _build(weights=str(tmp_path / "scratch.safetensors")).input_transform.scale.flatten().tolist() == [1, 1, 1]
