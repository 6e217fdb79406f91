"""The transformer encoder: how it reads an image, what it computes, and what a job needs of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.model import Transformer
from trainer.data.images import Shape
from trainer.exits import ConfigError
from trainer.models.transformer import EncoderLayer, Patches, Rows, TransformerClassifier, build_transformer

PATCHES = {"tokens": "patches", "patch_size": 2}
BOTH_TOKENS = pytest.mark.parametrize("tokens", [{"tokens": "rows"}, PATCHES], ids=["rows", "patches"])


def _config(**fields: Any) -> Transformer:
    small = {"name": "transformer", "width": 16, "heads": 4, "feed_forward": 24, "layers": 2}
    return Transformer.model_validate(small | fields)


def _build(shape: Shape = (3, 6, 8), seed: int = 0, **fields: Any) -> TransformerClassifier:
    torch.manual_seed(seed)
    model = build_transformer(_config(**fields), shape, 7)
    assert isinstance(model, TransformerClassifier)
    return model


# Images as sequences.


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 24), (4, 5, 17), (1, 1, 1)])
def test_rows_of_any_image_are_taken(shape: Shape) -> None:
    model = _build(shape)
    assert model(torch.randn(2, *shape)).shape == (2, 7)
    assert model.positions.shape == (shape[1], 16)
    assert model.embedding.in_features == shape[0] * shape[2]


@pytest.mark.parametrize(
    ("shape", "side", "length"), [((1, 28, 28), 4, 49), ((3, 6, 8), 2, 12), ((3, 5, 3), 1, 15), ((2, 4, 4), 4, 1)]
)
def test_patches_of_any_size_that_divides_the_sides_are_taken(shape: Shape, side: int, length: int) -> None:
    model = _build(shape, tokens="patches", patch_size=side)
    assert model(torch.randn(2, *shape)).shape == (2, 7)
    assert model.positions.shape == (length, 16)
    assert model.embedding.in_features == shape[0] * side**2


def test_a_row_holds_its_pixels_channel_by_channel() -> None:
    images = torch.randn(2, 3, 4, 5)
    sequence = Rows()(images)
    for row in range(4):
        assert torch.equal(sequence[:, row], images[:, :, row].flatten(1))


@settings(deadline=None)
@given(
    side=st.integers(1, 4),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_patches_follow_each_other_in_reading_order(
    side: int, rows: int, columns: int, channels: int, seed: int
) -> None:
    images = torch.rand(2, channels, rows * side, columns * side, generator=torch.Generator().manual_seed(seed))
    sequence = Patches(side)(images)
    expected = [
        images[:, :, top : top + side, left : left + side].flatten(1)
        for top in range(0, rows * side, side)
        for left in range(0, columns * side, side)
    ]
    assert torch.equal(sequence, torch.stack(expected, dim=1))


@pytest.mark.parametrize(
    ("shape", "side", "allowed"),
    [
        ((1, 28, 28), 5, "1, 2, 4, 7, 14, 28"),
        ((3, 6, 8), 4, "1, 2"),
        ((3, 8, 6), 4, "1, 2"),
        ((3, 4, 4), 8, "1, 2, 4"),
    ],
)
def test_a_patch_size_that_does_not_divide_the_sides_is_refused_with_those_that_do(
    shape: Shape, side: int, allowed: str
) -> None:
    message = (
        f"^train.model.patch_size: images of {shape[1]}x{shape[2]} pixels cannot be cut into patches of {side}x{side} "
        rf"\(allowed: {allowed}\)$"
    )
    with pytest.raises(ConfigError, match=message):
        _build(shape, tokens="patches", patch_size=side)


def test_rows_do_not_ask_for_the_patch_size() -> None:
    assert _build((1, 7, 9), tokens="rows", patch_size=4)(torch.randn(2, 1, 7, 9)).shape == (2, 7)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="heads: must divide width"):
        _config(width=10, heads=4)


# What is computed.


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_layer_agrees_with_torchs_own_given_its_weights(activation: str) -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(_config(activation=activation))
    peer = nn.TransformerEncoderLayer(16, 4, 24, 0.0, activation, batch_first=True, norm_first=True)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = layer.state_dict()
    names = {"self_attn": "attention", "linear1": "feed_forward.0", "linear2": "feed_forward.2"}
    names |= {"norm1": "attention_norm", "norm2": "feed_forward_norm"}
    parts = {"in_proj_weight": "inward.weight", "in_proj_bias": "inward.bias"}
    parts |= {"out_proj.weight": "outward.weight", "out_proj.bias": "outward.bias"}
    state = {}
    for name in peer.state_dict():
        module, part = name.split(".", 1)
        state[name] = ours[f"{names[module]}.{parts.get(part, part)}"]
    peer.load_state_dict(state)
    sequence = torch.randn(2, 5, 16)
    torch.testing.assert_close(layer(sequence), peer(sequence), rtol=1e-5, atol=1e-5)


@BOTH_TOKENS
def test_only_the_positions_tell_the_order_of_the_sequence(tokens: dict[str, Any]) -> None:
    model = _build(**tokens).eval()
    images = torch.randn(4, 3, 6, 8)
    moved = images.roll(2, dims=2)  # whole rows, and whole rows of patches
    nn.init.normal_(model.positions)
    assert (model(images) - model(moved)).abs().max() > 1e-2
    nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(images), model(moved), rtol=0, atol=1e-5)


@BOTH_TOKENS
def test_every_pixel_has_influence(tokens: dict[str, Any]) -> None:
    images = torch.randn(2, 3, 6, 8, requires_grad=True)
    _build(**tokens)(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).all()


def test_an_image_is_classified_alike_in_every_batch() -> None:
    model = _build().eval()
    images = torch.randn(8, 3, 6, 8)
    torch.testing.assert_close(model(images)[3:4], model(images[3:4]), rtol=0, atol=1e-5)


def test_it_learns_whether_two_rows_are_alike() -> None:
    """Without attention, what each row says by itself is added up, and no such sum tells equal from unequal."""
    torch.manual_seed(1)
    model = _build((1, 6, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        images, labels = _two_marked_rows(128)
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    images, labels = _two_marked_rows(512)
    assert (model(images).argmax(dim=1) == labels).float().mean() > 0.99


def _two_marked_rows(count: int) -> tuple[Tensor, Tensor]:
    """Noise with two rows, anywhere, that are bright on the left or on the right; label 1: on the same side."""
    every = torch.arange(count)
    rows = torch.rand(count, 6).argsort(dim=1)[:, :2]
    sides = torch.randint(2, (count, 2))
    marks = torch.tensor([[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [1.0] * 4])
    images = 0.1 * torch.randn(count, 1, 6, 8)
    for row, side in zip(rows.unbind(1), sides.unbind(1), strict=True):
        images[every, 0, row] += marks[side]
    return images, (sides[:, 0] == sides[:, 1]).long()


# What a job needs.


@BOTH_TOKENS
def test_every_parameter_gets_a_gradient(tokens: dict[str, Any]) -> None:
    model = _build(dropout=0.1, **tokens)
    functional.cross_entropy(model(torch.randn(8, 3, 6, 8)), torch.arange(8) % 7).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_the_seed_decides_the_weights() -> None:
    weights = [nn.utils.parameters_to_vector(_build(seed=seed).parameters()) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_same_step_gives_the_same_bits() -> None:
    gradients = []
    for _ in range(2):
        model = _build((1, 28, 28), dropout=0.1)
        model(torch.randn(16, 1, 28, 28)).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_units_are_dropped_after_the_embedding_each_attention_and_each_feed_forward_layer() -> None:
    model = _build(dropout=0.3, layers=2)
    shares: list[float] = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _, __, output: shares.append((output == 0).float().mean().item()))
    model(torch.randn(200, 3, 6, 8))
    assert shares == pytest.approx([0.3] * 5, abs=0.02)


def test_dropout_acts_in_training_only() -> None:
    model = _build(dropout=0.3)
    images = torch.randn(4, 3, 6, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_bf16_autocast_gives_the_logits_to_its_precision() -> None:
    model = _build().eval()
    images = torch.randn(4, 3, 6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        cast = model(images)
    assert cast.dtype == torch.bfloat16
    exact = model(images)
    assert (cast - exact).abs().max() < 0.02 * exact.abs().max()
    cast.float().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@BOTH_TOKENS
def test_images_in_channels_last_order_give_the_same_logits(tokens: dict[str, Any]) -> None:
    model = _build(**tokens).eval()
    images = torch.randn(4, 3, 6, 8)
    expected = model(images)
    result = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@BOTH_TOKENS
def test_export_gives_the_same_logits_at_any_batch_size(tokens: dict[str, Any]) -> None:
    model = _build(dropout=0.1, **tokens).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.zeros(2, 3, 6, 8),), dynamic_shapes=shapes)
    for batch in (1, 2, 5):
        images = torch.randn(batch, 3, 6, 8)
        torch.testing.assert_close(program.module()(images), model(images), rtol=0, atol=1e-6)


def test_its_weights_survive_a_file(tmp_path: Path) -> None:
    model, other = _build(seed=0).eval(), _build(seed=1).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    images = torch.randn(4, 3, 6, 8)
    assert torch.equal(other(images), model(images))
