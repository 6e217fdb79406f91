"""Attention: the formula in every precision, masks that leave no trace, and both paths alike."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from trainer.models.attention import MultiHeadAttention, attend

Array = npt.NDArray[np.float64]

SEEDS = st.integers(0, 2**32 - 1)
HALVES = [torch.float16, torch.bfloat16]
BOTH_PATHS = pytest.mark.parametrize("need_weights", [False, True], ids=["fused", "explicit"])
WITH_AND_WITHOUT_MASK = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


@dataclass
class Case:
    """Random queries, keys and values, and a mask that leaves no row empty unless told to."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor

    @staticmethod
    def heads(seed: int, *, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> "Case":
        """[2, 3, 5, 8] and [2, 3, 7, 8]: as `attend` takes them."""
        torch.manual_seed(seed)
        queries, keys, values = (torch.randn(2, 3, length, 8).mul(scale).to(dtype) for length in (5, 7, 7))
        return Case(queries, keys, values.div(scale), _mask(2, 3, 5, 7))

    @staticmethod
    def sequences(seed: int, *, dtype: torch.dtype = torch.float32) -> "Case":
        """[2, 5, 24] and [2, 7, 24]: as MultiHeadAttention takes them."""
        torch.manual_seed(seed)
        queries, keys, values = (torch.randn(2, length, 24).to(dtype) for length in (5, 7, 7))
        return Case(queries, keys, values, _mask(2, 3, 5, 7))

    def with_gradients(self) -> "Case":
        queries, keys, values = (x.clone().requires_grad_() for x in (self.queries, self.keys, self.values))
        return Case(queries, keys, values, self.mask)

    def gradients(self) -> list[Tensor]:
        tensors = [self.queries.grad, self.keys.grad, self.values.grad]
        return [gradient for gradient in tensors if gradient is not None]


def _mask(*shape: int) -> Tensor:
    mask = torch.rand(shape) < 0.6
    mask[..., 0] |= ~mask.any(dim=-1)
    return mask


def _module(*, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> MultiHeadAttention:
    """Width 24, 3 heads, biases other than zero."""
    module = MultiHeadAttention(24, 3, dropout)
    nn.init.normal_(module.outward.bias, std=0.1)
    return module.to(dtype)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().to(torch.float64).numpy()


def _formula(queries: Array, keys: Array, values: Array, mask: Tensor | None) -> tuple[Array, Array]:
    """Mixtures and weights by the definition, a query at a time."""
    weights = np.zeros((*queries.shape[:-1], keys.shape[-2]))
    allowed = np.ones(weights.shape, dtype=bool) if mask is None else np.broadcast_to(mask.numpy(), weights.shape)
    for place in np.ndindex(queries.shape[:-1]):
        chosen = allowed[place]
        if chosen.any():
            scores = keys[place[:-1]][chosen] @ queries[place] / np.sqrt(queries.shape[-1])
            powers = np.exp(scores - scores.max())
            weights[place][chosen] = powers / powers.sum()
    return weights @ values, weights


def _split(x: Array) -> Array:
    return x.reshape(*x.shape[:-1], 3, -1).swapaxes(1, 2)


def _merged(x: Array) -> Array:
    return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)


def _formula_of(module: MultiHeadAttention, case: Case, mask: Tensor | None) -> tuple[Array, Array]:
    weights, biases = (np.split(_array(x), 3) for x in (module.inward.weight, module.inward.bias))
    inputs = (case.queries, case.keys, case.values)
    projected = [_split(_array(x) @ w.T + b) for x, w, b in zip(inputs, weights, biases, strict=True)]
    mixed, shares = _formula(projected[0], projected[1], projected[2], mask)
    return _merged(mixed) @ _array(module.outward.weight).T + _array(module.outward.bias), shares


def _assert_within(actual: Tensor, expected: Array, bound: Array | float) -> None:
    excess = np.abs(_array(actual) - expected) - bound
    assert excess.max() <= 0, f"{excess.max()} beyond the bound"


# The formula.


@WITH_AND_WITHOUT_MASK
@settings(deadline=None, max_examples=40)
@given(seed=SEEDS)
def test_single_precision_agrees_with_the_formula_in_double_to_1e6(masked: bool, seed: int) -> None:
    case, module = Case.sequences(seed), _module()
    mask = case.mask if masked else None
    expected, expected_weights = _formula_of(module, case, mask)
    fused, none = module(case.queries, case.keys, case.values, mask=mask)
    explicit, weights = module(case.queries, case.keys, case.values, mask=mask, need_weights=True)
    assert none is None
    for actual, reference in ((fused, expected), (explicit, expected), (weights, expected_weights)):
        _assert_within(actual, reference, 1e-6)


@pytest.mark.parametrize("own", [True, False], ids=["self", "cross"])
@WITH_AND_WITHOUT_MASK
def test_agrees_with_torchs_own_module_given_its_weights(masked: bool, own: bool) -> None:
    torch.manual_seed(1)
    module, peer = _module(), nn.MultiheadAttention(24, 3, batch_first=True)
    state = zip(peer.state_dict(), module.state_dict().values(), strict=True)
    peer.load_state_dict(dict(state))
    queries, keys, values = (torch.randn(2, length, 24) for length in (5, 5 if own else 7, 5 if own else 7))
    inputs = (queries, queries, queries) if own else (queries, keys, values)
    mask = _mask(2, 3, 5, inputs[1].shape[1]) if masked else None
    theirs, their_weights = peer(
        *inputs, attn_mask=None if mask is None else ~mask.flatten(0, 1), average_attn_weights=False
    )
    ours, weights = module(*inputs[: 1 if own else 3], mask=mask, need_weights=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights, their_weights, rtol=0, atol=1e-6)


def test_keys_default_to_the_queries_and_values_to_the_keys() -> None:
    case, module = Case.sequences(2), _module()
    queries, keys = case.queries, case.keys
    torch.testing.assert_close(module(queries)[0], module(queries, queries, queries)[0])
    torch.testing.assert_close(module(queries, keys)[0], module(queries, keys, keys)[0])
    torch.testing.assert_close(module(queries, values=queries + 1)[0], module(queries, queries, queries + 1)[0])


def test_the_fused_kernel_runs_unless_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    kernel: Callable[..., Tensor] = functional.scaled_dot_product_attention

    def counted(*arguments: object) -> Tensor:
        calls.append(1)
        return kernel(*arguments)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    module, case = _module(), Case.sequences(0)
    module(case.queries, need_weights=True)
    assert calls == []
    module(case.queries)
    assert calls == [1]


# Half precision. u is the unit roundoff: rounding a number x to the type moves it by at most u |x|.


def _rounding(dtype: torch.dtype, value: Array) -> Array:
    """How far rounding to ``dtype`` may move ``value``, numbers too small for a full mantissa included.

    5 % are added for the sums, which are taken in single precision, and for products of two errors.
    """
    info = torch.finfo(dtype)
    return 1.05 * (info.eps / 2 * np.abs(value) + info.smallest_normal * info.eps / 2)


@pytest.mark.parametrize("dtype", HALVES)
@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0]))
def test_weights_of_halves_are_exact_to_1e6(dtype: torch.dtype, seed: int, scale: float) -> None:
    case = Case.heads(seed, scale=scale, dtype=dtype)
    _, expected = _formula(_array(case.queries), _array(case.keys), _array(case.values), case.mask)
    _, weights = attend(case.queries, case.keys, case.values, mask=case.mask, need_weights=True)
    assert weights is not None
    assert weights.dtype == torch.float32
    _assert_within(weights, expected, 1e-6)
    _assert_within(weights.sum(dim=-1), np.ones((2, 3, 5)), 1e-6)


@pytest.mark.parametrize("dtype", HALVES)
@WITH_AND_WITHOUT_MASK
@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0]))
def test_mixtures_of_halves_are_exact_to_their_rounding(
    dtype: torch.dtype, masked: bool, seed: int, scale: float
) -> None:
    """Explicit: the result is rounded once. Fused: each weight, too, so the bound is u (|result| + sum of w |v|)."""
    case = Case.heads(seed, scale=scale, dtype=dtype)
    mask = case.mask if masked else None
    values = _array(case.values)
    expected, weights = _formula(_array(case.queries), _array(case.keys), values, mask)
    once = _rounding(dtype, expected) + 1e-6 * (weights @ np.abs(values))
    explicit, _ = attend(case.queries, case.keys, case.values, mask=mask, need_weights=True)
    _assert_within(explicit, expected, once)
    fused, _ = attend(case.queries, case.keys, case.values, mask=mask)
    _assert_within(fused, expected, once + _rounding(dtype, weights) @ np.abs(values))
    assert explicit.dtype == fused.dtype == dtype


@BOTH_PATHS
@pytest.mark.parametrize("dtype", HALVES)
@settings(deadline=None, max_examples=40)
@given(seed=SEEDS)
def test_the_module_in_half_precision_is_exact_to_four_roundings(
    dtype: torch.dtype, need_weights: bool, seed: int
) -> None:
    """Projections, weights, mixtures and outputs are rounded to the type, each by u at most: 4 u of the largest output.

    Against the formula in double on the same half inputs and parameters.
    """
    case, module = Case.sequences(seed, dtype=dtype), _module(dtype=dtype)
    expected, _ = _formula_of(module, case, case.mask)
    actual, _ = module(case.queries, case.keys, case.values, mask=case.mask, need_weights=need_weights)
    assert actual.dtype == dtype
    _assert_within(actual, expected, 4 * torch.finfo(dtype).eps / 2 * np.abs(expected).max())


@BOTH_PATHS
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_scores_beyond_the_range_of_half_precision_give_no_nan(dtype: torch.dtype, need_weights: bool) -> None:
    case = Case.heads(3, dtype=dtype)
    queries, keys = (case.queries * 200).requires_grad_(), case.keys * 1000
    assert (_array(queries) @ _array(keys).swapaxes(-1, -2)).max() > torch.finfo(torch.float16).max
    expected, _ = _formula(_array(queries), _array(keys), _array(case.values), case.mask)
    mixed, _ = attend(queries, keys, case.values, mask=case.mask, need_weights=need_weights)
    mixed.sum().backward()  # type: ignore[no-untyped-call]
    assert queries.grad is not None
    assert queries.grad.isfinite().all()
    _assert_within(mixed, expected, 2 * _rounding(dtype, np.abs(_array(case.values)).max(axis=-2, keepdims=True)))


def test_autocast_leaves_the_weights_in_single_precision() -> None:
    case = Case.heads(4)
    arguments = (case.queries, case.keys, case.values)
    mixed, weights = attend(*arguments, mask=case.mask, need_weights=True)
    with torch.autocast("cpu", torch.bfloat16):
        cast_mixed, cast_weights = attend(*arguments, mask=case.mask, need_weights=True)
    assert weights is not None
    assert cast_weights is not None
    assert torch.equal(cast_weights, weights)
    assert torch.equal(cast_mixed, mixed)


# Masks.


@BOTH_PATHS
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_masked_keys_have_no_influence_at_all(dtype: torch.dtype, need_weights: bool) -> None:
    case = Case.sequences(5, dtype=dtype)
    module = _module(dtype=dtype)
    mask = torch.tensor([True, False, True, True, False, False, True])
    before, weights = module(case.queries, case.keys, case.values, mask=mask, need_weights=need_weights)
    keys = torch.where(mask[:, None], case.keys, 100 * torch.randn(7, 24).to(dtype)).requires_grad_()
    values = torch.where(mask[:, None], case.values, 100 * torch.randn(7, 24).to(dtype)).requires_grad_()
    after, _ = module(case.queries, keys, values, mask=mask, need_weights=need_weights)
    assert torch.equal(after, before)
    after.square().sum().backward()
    for tensor in (keys, values):
        assert tensor.grad is not None
        moved = tensor.grad.abs().sum(dim=(0, 2)) > 0
        assert moved.tolist() == mask.tolist()
    if weights is not None:
        assert ((weights > 0) == mask).all()


@BOTH_PATHS
def test_a_query_with_no_key_left_gets_zeros_and_passes_no_gradient(need_weights: bool) -> None:
    case = Case.heads(6).with_gradients()
    case.mask[0, :, 2] = False
    case.mask[1, 1, 4] = False
    empty = ~case.mask.any(dim=-1)
    mixed, weights = attend(case.queries, case.keys, case.values, mask=case.mask, need_weights=need_weights)
    assert not mixed[empty].any()
    assert mixed[~empty].all()
    mixed.exp().sum().backward()  # type: ignore[no-untyped-call]
    assert all(gradient.isfinite().all() for gradient in case.gradients())
    assert not case.gradients()[0][empty].any()
    if weights is not None:
        assert not weights[empty].any()
        torch.testing.assert_close(weights[~empty].sum(dim=-1), torch.ones(int((~empty).sum())))


@BOTH_PATHS
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_queries_with_no_key_left_leave_the_others_as_they_are(dtype: torch.dtype, need_weights: bool) -> None:
    whole, rest = (Case.heads(7, dtype=dtype).with_gradients() for _ in range(2))
    whole.mask[:, :, 3:] = False
    mixed, _ = attend(whole.queries, whole.keys, whole.values, mask=whole.mask, need_weights=need_weights)
    expected, _ = attend(
        rest.queries[:, :, :3], rest.keys, rest.values, mask=whole.mask[:, :, :3], need_weights=need_weights
    )
    for result in (mixed, expected):
        result.float().square().sum().backward()  # type: ignore[no-untyped-call]
    step = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(mixed[:, :, :3], expected, rtol=step, atol=step)
    for gradient, without in zip(whole.gradients(), rest.gradients(), strict=True):
        torch.testing.assert_close(gradient, without, rtol=4 * step, atol=4 * step)


@BOTH_PATHS
def test_everything_masked_gives_the_output_bias_and_finite_gradients(need_weights: bool) -> None:
    case, module = Case.sequences(8), _module()
    nothing = torch.zeros(5, 7, dtype=torch.bool)
    output, _ = module(case.queries, case.keys, case.values, mask=nothing, need_weights=need_weights)
    assert torch.equal(output, module.outward.bias.expand_as(output))
    output.square().sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@BOTH_PATHS
def test_padded_sequences_give_what_each_gives_alone(need_weights: bool) -> None:
    case, module = Case.sequences(9), _module()
    lengths = torch.tensor([4, 7])
    real = torch.arange(7) < lengths[:, None]
    batch, _ = module(case.queries, case.keys, case.values, mask=real[:, None, None, :], need_weights=need_weights)
    for index, length in enumerate(lengths.tolist()):
        one = slice(index, index + 1)
        alone, _ = module(case.queries[one], case.keys[one, :length], case.values[one, :length])
        torch.testing.assert_close(batch[one], alone, rtol=0, atol=1e-6)


@BOTH_PATHS
def test_looking_back_only_gives_each_element_what_the_last_of_its_beginning_gets(need_weights: bool) -> None:
    sequence, module = Case.sequences(10).keys, _module()
    whole, _ = module(sequence, mask=torch.ones(7, 7).tril().bool(), need_weights=need_weights)
    for length in range(1, 8):
        beginning, _ = module(sequence[:, :length])
        torch.testing.assert_close(whole[:, length - 1], beginning[:, -1], rtol=0, atol=1e-6)


@BOTH_PATHS
@pytest.mark.parametrize(
    "shape", [(7,), (1, 7), (5, 1), (5, 7), (3, 1, 7), (2, 1, 1, 7), (2, 1, 5, 7), (1, 3, 5, 1), (2, 3, 5, 7)]
)
def test_a_mask_of_any_shape_that_broadcasts_is_taken(shape: tuple[int, ...], need_weights: bool) -> None:
    case = Case.heads(11)
    mask = torch.rand(shape) < 0.6
    small, _ = attend(case.queries, case.keys, case.values, mask=mask, need_weights=need_weights)
    full, _ = attend(case.queries, case.keys, case.values, mask=mask.expand(2, 3, 5, 7), need_weights=need_weights)
    torch.testing.assert_close(small, full, rtol=0, atol=1e-6)


@BOTH_PATHS
def test_a_mask_of_numbers_is_refused(need_weights: bool) -> None:
    with pytest.raises(TypeError, match=r"mask must be bool, True where attention may go \(got torch\.float32\)"):
        _module()(torch.zeros(1, 2, 24), mask=torch.zeros(2, 2), need_weights=need_weights)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"heads must divide width \(10; got 4\)"):
        MultiHeadAttention(10, 4)


# Gradients, symmetries and dropout.


@WITH_AND_WITHOUT_MASK
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_both_paths_agree_with_their_gradients(masked: bool, seed: int) -> None:
    module = _module()
    results = []
    for need_weights in (False, True):
        case = Case.sequences(seed).with_gradients()
        case.mask[0, 1, 2] = False  # an empty row among them
        module.zero_grad()
        mask = case.mask if masked else None
        output, _ = module(case.queries, case.keys, case.values, mask=mask, need_weights=need_weights)
        output.square().sum().backward()
        own = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        results.append([output.detach(), *case.gradients(), *own])
    assert len(results[0]) == 8
    for fused, explicit in zip(*results, strict=True):
        torch.testing.assert_close(fused, explicit, rtol=1e-5, atol=1e-5)


@BOTH_PATHS
@WITH_AND_WITHOUT_MASK
def test_gradients_agree_with_finite_differences(masked: bool, need_weights: bool) -> None:
    case = Case.heads(12, dtype=torch.float64).with_gradients()
    case.mask[0, 0, 1] = False

    def mixed(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        results = attend(queries, keys, values, mask=case.mask if masked else None, need_weights=need_weights)
        return tuple(result for result in results if result is not None)

    assert torch.autograd.gradcheck(mixed, (case.queries, case.keys, case.values))


@BOTH_PATHS
def test_every_parameter_gets_a_gradient(need_weights: bool) -> None:
    for cross in (False, True):
        case, module = Case.sequences(13), _module()
        output, _ = module(case.queries, case.keys if cross else None, need_weights=need_weights)
        output.square().sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


@BOTH_PATHS
def test_reordered_queries_give_reordered_outputs(need_weights: bool) -> None:
    case, module = Case.sequences(14), _module()
    order = torch.tensor([3, 0, 4, 1, 2])
    before, _ = module(case.queries, need_weights=need_weights)
    after, _ = module(case.queries[:, order], need_weights=need_weights)
    assert not torch.allclose(before, before[:, order])
    torch.testing.assert_close(after, before[:, order], rtol=0, atol=1e-6)


@BOTH_PATHS
def test_the_order_of_keys_does_not_matter_as_long_as_values_and_mask_follow(need_weights: bool) -> None:
    case, module = Case.sequences(15), _module()
    order = torch.tensor([6, 2, 0, 3, 5, 1, 4])

    def run(keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        output: Tensor = module(case.queries, keys, values, mask=mask, need_weights=need_weights)[0]
        return output

    before = run(case.keys, case.values, case.mask)
    torch.testing.assert_close(
        run(case.keys[:, order], case.values[:, order], case.mask[..., order]), before, rtol=0, atol=1e-6
    )
    assert not torch.allclose(run(case.keys, case.values[:, order], case.mask), before)


@BOTH_PATHS
def test_equal_keys_are_averaged(need_weights: bool) -> None:
    case = Case.heads(16)
    mixed, _ = attend(case.queries, case.keys[:, :, :1].expand(2, 3, 7, 8), case.values, need_weights=need_weights)
    expected = case.values.mean(dim=2, keepdim=True).expand_as(mixed)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-6)


@BOTH_PATHS
def test_dropout_keeps_the_mean_and_acts_in_training_only(need_weights: bool) -> None:
    torch.manual_seed(17)
    module = _module(dropout=0.25)
    sequence = torch.randn(1, 6, 24)
    plain, weights = module.eval()(sequence, need_weights=need_weights)
    assert torch.equal(module(sequence, need_weights=need_weights)[0], plain)
    draws, drawn_weights = module.train()(sequence.expand(20_000, 6, 24), need_weights=need_weights)
    error = draws.std(dim=0) / 20_000**0.5
    assert (error > 0).all()
    assert ((draws.mean(dim=0) - plain[0]).abs() < 6 * error).all()
    if weights is not None:
        torch.testing.assert_close(drawn_weights[:1], weights)  # those before dropout
