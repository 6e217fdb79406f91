"""Losses are sums, so that a batch may be cut into any shares; focal loss against torch, torchvision, closed forms."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torchvision import ops

from trainer.config.optim import CrossEntropy, Focal, Loss
from trainer.exits import ConfigError
from trainer.losses import activation, build_loss, class_probabilities, sigmoid_focal_loss, softmax_focal_loss

CLASSES = ("ant", "bee", "cat", "dog")
GAMMAS = st.one_of(st.just(0.0), st.floats(0.01, 5.0))
SMOOTHINGS = st.one_of(st.just(0.0), st.floats(0.01, 0.9))
EVERY_LOSS = [
    CrossEntropy(name="cross-entropy"),
    CrossEntropy(name="cross-entropy", label_smoothing=0.1),
    Focal(name="focal"),
    Focal(name="focal", gamma=0.5, alpha={"bee": 4.0}, label_smoothing=0.2),
    Focal(name="focal", alpha=0.25, activation="sigmoid", label_smoothing=0.1),
]

# Fresh tensors by a drawn seed: as hypothesis's own lists of floats they would be slow, and no easier to read.
seeds = st.integers(0, 2**62)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 7))


def _logits(seed: int, size: tuple[int, int], spread: float = 6.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random logits; with a spread of 6, some probabilities are within 1e-6 of 0 or 1."""
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(spread).to(dtype)


def _labels(seed: int, size: tuple[int, int]) -> Tensor:
    return torch.randint(0, size[1], size[:1], generator=torch.Generator().manual_seed(seed ^ 1))


def _answers(seed: int, size: tuple[int, int]) -> Tensor:
    """Yes or no for each logit, as int64."""
    return torch.randint(0, 2, size, generator=torch.Generator().manual_seed(seed ^ 1))


def _alpha(seed: int, classes: int) -> Tensor:
    return torch.rand(classes, generator=torch.Generator().manual_seed(seed ^ 2), dtype=torch.float64) * 5 + 0.1


def _closed_form(logits: Tensor, labels: Tensor, gamma: float, alpha: Tensor, smoothing: float) -> Tensor:
    """The definition, class by class in Python, with 1 - p as the sum of the other probabilities; float64 [B]."""
    losses = []
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        p = row.softmax(0)
        total = row.new_zeros(())
        for cls in range(len(row)):
            share = (1 - smoothing) * (cls == label) + smoothing / len(row)
            rest = sum((p[other] for other in range(len(row)) if other != cls), row.new_zeros(()))
            factor = rest**gamma if gamma else 1.0
            total = total - share * alpha[cls].double() * factor * row.log_softmax(0)[cls]
        losses.append(total)
    return torch.stack(losses)


# Sums over samples


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_sum_over_samples(smoothing: float) -> None:
    loss = build_loss(CrossEntropy(name="cross-entropy", label_smoothing=smoothing), CLASSES)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    each = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, labels), each.sum())
    torch.testing.assert_close(loss(logits[:2], labels[:2]) + loss(logits[2:], labels[2:]), each.sum())


@given(seed=seeds, batch=st.integers(1, 12), cut=st.integers(0, 12), config=st.sampled_from(EVERY_LOSS))
@settings(max_examples=60, deadline=None)
def test_the_sum_over_any_cut_of_the_batch_is_that_of_the_whole(seed: int, batch: int, cut: int, config: Loss) -> None:
    logits, labels = _logits(seed, (batch, 4)), _labels(seed, (batch, 4))
    loss = build_loss(config, CLASSES).double()
    parts = loss(logits[:cut], labels[:cut]) + loss(logits[cut:], labels[cut:])
    assert parts.shape == ()
    torch.testing.assert_close(parts, loss(logits, labels), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_reductions(alpha: float | None) -> None:
    logits, labels, answers = _logits(0, (5, 3)), _labels(0, (5, 3)), _answers(0, (5, 3))
    for loss, targets, shape in ((softmax_focal_loss, labels, (5,)), (sigmoid_focal_loss, answers, (5, 3))):
        each = loss(logits, targets, gamma=2.0, alpha=alpha, reduction="none")
        assert each.shape == shape
        torch.testing.assert_close(loss(logits, targets, gamma=2.0, alpha=alpha), each.sum())
        torch.testing.assert_close(loss(logits, targets, gamma=2.0, alpha=alpha, reduction="mean"), each.mean())
        with pytest.raises(ValueError, match=r"unknown reduction 'batch' \(allowed sum, mean, none\)"):
            loss(logits, targets, gamma=2.0, reduction="batch")  # type: ignore[arg-type]


def test_the_mean_of_a_batch_of_one_class_keeps_the_weight_of_the_class() -> None:
    logits, labels = _logits(0, (5, 3)), torch.ones(5, dtype=torch.int64)
    plain = softmax_focal_loss(logits, labels, gamma=2.0, reduction="mean")
    weighted = softmax_focal_loss(logits, labels, gamma=2.0, alpha=torch.tensor([1.0, 4.0, 1.0]), reduction="mean")
    torch.testing.assert_close(weighted, 4 * plain)


# The same numbers as torch, torchvision and the definition


@given(seed=seeds, size=sizes, gamma=GAMMAS, alpha=st.one_of(st.none(), st.floats(0.0, 1.0)), double=st.booleans())
@settings(max_examples=200, deadline=None)
def test_binary_focal_loss_is_torchvisions(
    seed: int, size: tuple[int, int], gamma: float, alpha: float | None, double: bool
) -> None:
    logits = _logits(seed, size, dtype=torch.float64 if double else torch.float32)
    answers = _answers(seed, size)
    expected = ops.sigmoid_focal_loss(
        logits, answers.to(logits.dtype), alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="none"
    )
    loss = sigmoid_focal_loss(logits, answers, gamma=gamma, alpha=alpha, reduction="none")
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


@given(seed=seeds, size=sizes, gamma=GAMMAS, smoothing=SMOOTHINGS, double=st.booleans())
@settings(max_examples=200, deadline=None)
def test_multi_class_focal_loss_is_its_closed_form(
    seed: int, size: tuple[int, int], gamma: float, smoothing: float, double: bool
) -> None:
    logits = _logits(seed, size, dtype=torch.float64 if double else torch.float32)
    labels, alpha = _labels(seed, size), _alpha(seed, size[1])
    loss = softmax_focal_loss(logits, labels, gamma=gamma, alpha=alpha, label_smoothing=smoothing, reduction="none")
    assert loss.dtype == logits.dtype
    tolerance = 1e-12 if double else 1e-6
    expected = _closed_form(logits, labels, gamma, alpha, smoothing)
    torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=tolerance * alpha.max().item())


@given(seed=seeds, size=sizes, smoothing=SMOOTHINGS, weighted=st.booleans())
@settings(max_examples=100, deadline=None)
def test_without_gamma_it_is_torchs_cross_entropy(
    seed: int, size: tuple[int, int], smoothing: float, weighted: bool
) -> None:
    logits, labels = _logits(seed, size, dtype=torch.float32), _labels(seed, size)
    alpha = _alpha(seed, size[1]).float() if weighted else None
    loss = softmax_focal_loss(logits, labels, gamma=0.0, alpha=alpha, label_smoothing=smoothing, reduction="none")
    weight = None if alpha is None else alpha.double()
    expected = functional.cross_entropy(
        logits.double(), labels, weight=weight, label_smoothing=smoothing, reduction="none"
    )
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)


@given(seed=seeds, size=sizes, smoothing=SMOOTHINGS)
@settings(max_examples=100, deadline=None)
def test_without_gamma_it_is_torchs_binary_cross_entropy(seed: int, size: tuple[int, int], smoothing: float) -> None:
    logits, answers = _logits(seed, size, dtype=torch.float32), _answers(seed, size)
    loss = sigmoid_focal_loss(logits, answers, gamma=0.0, label_smoothing=smoothing, reduction="none")
    smoothed = answers.double() * (1 - smoothing) + smoothing / 2
    # In float64: in float32 torch's own formula subtracts numbers that are nearly equal, and is off by up to 1e-5.
    expected = functional.binary_cross_entropy_with_logits(logits.double(), smoothed, reduction="none")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)


def test_two_classes_are_one_answer() -> None:
    logits, answers = _logits(0, (50, 1)), _answers(0, (50, 1))
    pairs = torch.cat([torch.zeros_like(logits), logits], dim=1)
    for gamma in (0.0, 0.5, 2.0):
        multi = softmax_focal_loss(pairs, answers[:, 0], gamma=gamma, alpha=torch.tensor([0.75, 0.25]))
        torch.testing.assert_close(multi, sigmoid_focal_loss(logits, answers, gamma=gamma, alpha=0.25))


def test_each_question_may_have_an_alpha_of_its_own() -> None:
    logits, answers = _logits(0, (9, 2)), _answers(0, (9, 2))
    alone = [sigmoid_focal_loss(logits[:, at], answers[:, at], gamma=2.0, alpha=[0.2, 0.9][at]) for at in (0, 1)]
    together = sigmoid_focal_loss(logits, answers, gamma=2.0, alpha=torch.tensor([0.2, 0.9], dtype=torch.float64))
    torch.testing.assert_close(together, alone[0] + alone[1])


def test_surer_samples_count_less() -> None:
    logits, label = torch.tensor([[math.log(9.0), 0.0]]), torch.tensor([0])  # p = 0.9
    loss = softmax_focal_loss(logits, label, gamma=2.0)
    assert loss.item() == pytest.approx(0.1**2 * -math.log(0.9), rel=1e-5)


# Gradients


@given(seed=seeds, size=sizes, gamma=GAMMAS, smoothing=SMOOTHINGS)
@settings(max_examples=30, deadline=None)
def test_gradients_are_those_of_finite_differences(
    seed: int, size: tuple[int, int], gamma: float, smoothing: float
) -> None:
    logits = _logits(seed, size, spread=2.0).requires_grad_()
    labels, answers, alpha = _labels(seed, size), _answers(seed, size), _alpha(seed, size[1])
    options: dict[str, Any] = {"gamma": gamma, "label_smoothing": smoothing}
    assert torch.autograd.gradcheck(lambda x: softmax_focal_loss(x, labels, alpha=alpha, **options), logits)
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, answers, alpha=0.25, **options), logits)


@given(seed=seeds, size=sizes, gamma=GAMMAS, smoothing=SMOOTHINGS)
@settings(max_examples=60, deadline=None)
def test_gradients_are_those_of_the_closed_form(
    seed: int, size: tuple[int, int], gamma: float, smoothing: float
) -> None:
    labels, alpha = _labels(seed, size), _alpha(seed, size[1])
    logits = _logits(seed, size).requires_grad_()
    loss = softmax_focal_loss(logits, labels, gamma=gamma, alpha=alpha, label_smoothing=smoothing)
    expected = _closed_form(logits, labels, gamma, alpha, smoothing).sum()
    torch.testing.assert_close(*torch.autograd.grad(loss, logits), *torch.autograd.grad(expected, logits))


# Half precision and extreme logits


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_logits_give_a_finite_loss_and_gradient(dtype: torch.dtype, gamma: float, smoothing: float) -> None:
    extremes = torch.tensor([-1e4, -100.0, -17.0, 0.0, 17.0, 100.0, 1e4])
    rows = torch.cartesian_prod(extremes, extremes, extremes).to(dtype)
    for label in range(3):
        labels = torch.full((len(rows),), label)
        for loss, targets in ((softmax_focal_loss, labels), (sigmoid_focal_loss, functional.one_hot(labels, 3))):
            logits = rows.clone().requires_grad_()
            each = loss(logits, targets, gamma=gamma, label_smoothing=smoothing, reduction="none")
            each.sum().backward()  # type: ignore[no-untyped-call]
            assert each.dtype == torch.float32
            assert each.isfinite().all()
            assert (each >= 0).all()
            assert logits.grad is not None
            assert logits.grad.dtype == dtype
            assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loses_nothing_but_the_rounding_of_its_logits(dtype: torch.dtype) -> None:
    logits, labels = _logits(0, (64, 5), dtype=dtype), _labels(0, (64, 5))
    loss = softmax_focal_loss(logits, labels, gamma=2.0, label_smoothing=0.1, reduction="none")
    expected = softmax_focal_loss(logits.float(), labels, gamma=2.0, label_smoothing=0.1, reduction="none")
    assert torch.equal(loss, expected)


def test_autocast_does_not_lower_the_arithmetic() -> None:
    logits, labels = _logits(0, (64, 4), dtype=torch.bfloat16), _labels(0, (64, 4))
    loss = build_loss(Focal(name="focal", alpha={"bee": 2.0}, label_smoothing=0.1), CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, labels)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(logits, labels))


def test_a_sure_and_right_model_still_has_an_exact_gradient() -> None:
    """1 - p is 2e-13, which float32 rounds to 0: the power 0.5 of that has an infinite slope."""
    logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    precise = logits.detach().double().requires_grad_()
    label = torch.tensor([0])
    softmax_focal_loss(logits, label, gamma=0.5, label_smoothing=0.1).backward()  # type: ignore[no-untyped-call]
    _closed_form(precise, label, 0.5, torch.ones(3), 0.1).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert precise.grad is not None
    torch.testing.assert_close(logits.grad.double(), precise.grad, rtol=1e-5, atol=1e-9)


# Built from a configuration


def test_alpha_is_given_by_the_names_of_classes() -> None:
    loss = build_loss(Focal(name="focal", gamma=1.5, alpha={"dog": 4.0, "bee": 2.0}), CLASSES)
    logits, labels = _logits(0, (20, 4), dtype=torch.float32), _labels(0, (20, 4))
    weights = torch.tensor([1.0, 2.0, 1.0, 4.0])
    torch.testing.assert_close(loss(logits, labels), softmax_focal_loss(logits, labels, gamma=1.5, alpha=weights))


def test_an_alpha_for_an_unknown_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^train\.loss\.alpha: unknown class 'cow' \(allowed ant, bee, cat, dog\)$"):
        build_loss(Focal(name="focal", alpha={"bee": 2.0, "cow": 4.0}), CLASSES)


def test_one_vs_rest_sums_the_answers_of_a_sample() -> None:
    loss = build_loss(Focal(name="focal", activation="sigmoid", alpha=0.25), CLASSES)
    logits, labels = _logits(0, (20, 4), dtype=torch.float32), _labels(0, (20, 4))
    targets = functional.one_hot(labels, 4).float()
    expected = ops.sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0, reduction="sum")
    torch.testing.assert_close(loss(logits, labels), expected)


@pytest.mark.parametrize("alpha", [None, 3.0, {"cat": 3.0}])
def test_a_built_loss_without_gamma_is_weighted_cross_entropy(alpha: float | dict[str, float] | None) -> None:
    loss = build_loss(Focal(name="focal", gamma=0.0, alpha=alpha, label_smoothing=0.1), CLASSES)
    logits, labels = _logits(0, (20, 4), dtype=torch.float32), _labels(0, (20, 4))
    factor = 3.0 if alpha == 3.0 else 1.0
    weight = torch.tensor([1.0, 1.0, 3.0, 1.0]) if isinstance(alpha, dict) else None
    expected = functional.cross_entropy(logits, labels, weight=weight, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(loss(logits, labels), factor * expected)


def test_probabilities_are_those_that_the_loss_taught() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0]])
    softmax = class_probabilities(logits, activation(Focal(name="focal")))
    sigmoid = class_probabilities(logits, activation(Focal(name="focal", activation="sigmoid")))
    torch.testing.assert_close(softmax.sum(dim=1), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(sigmoid, 1 / (1 + (-logits.double()).exp()))
    assert activation(CrossEntropy(name="cross-entropy")) == "softmax"
