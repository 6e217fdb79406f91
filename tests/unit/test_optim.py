"""Optimizers, schedules as functions of the step, and clipping."""

import itertools
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torch.optim import lr_scheduler

from trainer.config.optim import Adam, AdamW, Constant, Cosine, OneCycle, Optimizer, Schedule, Sgd, Step
from trainer.optim import build_optimizer, clip_gradients, learning_rate_factor, set_learning_rate

STEPS, STEPS_PER_EPOCH = 40, 8
OPTIMIZERS: list[Optimizer] = [
    Sgd(name="sgd", lr=0.1, weight_decay=0.01),
    Sgd(name="sgd", lr=0.1, nesterov=True),
    Adam(name="adam", lr=0.01, betas=(0.8, 0.9), weight_decay=0.1),
    AdamW(name="adamw", lr=0.01),
]


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def _curve(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [
        learning_rate_factor(schedule, step=step, steps=steps, steps_per_epoch=STEPS_PER_EPOCH) for step in range(steps)
    ]


def _torch_curve(make: Any, lr: float = 1.0) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("config", OPTIMIZERS, ids=lambda config: config.name)
def test_weights_are_decayed_and_biases_and_norms_are_not(config: Optimizer) -> None:
    groups = build_optimizer(config, _net()).param_groups
    assert [{parameter.ndim for parameter in group["params"]} for group in groups] == [{2}, {1}]
    assert [group["weight_decay"] for group in groups] == [config.weight_decay, 0.0]
    assert all(group["lr"] == config.lr for group in groups)


@pytest.mark.parametrize("config", OPTIMIZERS, ids=lambda config: config.name)
def test_the_fused_kernel_takes_the_step_of_the_plain_one(config: Optimizer) -> None:
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    fields = config.model_dump(exclude={"name", "weight_decay"})
    ours, plain = _net(), _net()
    ours[1], plain[1] = (
        nn.Identity(),
        nn.Identity(),
    )  # BatchNorm leaves a bias without gradient, and Adam magnifies noise
    optimizer = build_optimizer(config, ours)
    weights = [parameter for parameter in plain.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in plain.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    reference = kinds[config.name](groups, **fields, fused=False)
    assert optimizer.param_groups[0]["fused"]
    for _ in range(5):
        batch = torch.randn(16, 4)
        for net, opt in ((ours, optimizer), (plain, reference)):
            opt.zero_grad()
            net(batch).square().sum().backward()
            opt.step()
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_frozen_parameters_are_left_out() -> None:
    net = _net()
    net[0].requires_grad_(False)
    groups = build_optimizer(OPTIMIZERS[0], net).param_groups
    assert sum(len(group["params"]) for group in groups) == 4


def test_a_model_without_biases_makes_one_group() -> None:
    assert len(build_optimizer(OPTIMIZERS[0], nn.Linear(2, 2, bias=False)).param_groups) == 1


def test_the_learning_rate_of_every_group_is_set() -> None:
    optimizer = build_optimizer(OPTIMIZERS[0], _net())
    set_learning_rate(optimizer, 0.1, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]


def test_constant_stays() -> None:
    assert set(_curve(Constant(name="constant"))) == {1.0}


def test_step_matches_torch() -> None:
    ours = _curve(Step(name="step", every_epochs=2, gamma=0.5))
    assert ours == pytest.approx(_torch_curve(lambda o: lr_scheduler.StepLR(o, 2 * STEPS_PER_EPOCH, gamma=0.5)))


def test_cosine_matches_torch() -> None:
    ours = _curve(Cosine(name="cosine", final_factor=0.1))
    assert ours == pytest.approx(_torch_curve(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1)))


def test_cosine_warms_up_evenly_from_the_first_step() -> None:
    curve = _curve(Cosine(name="cosine", warmup_epochs=0.5))
    assert curve[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(earlier > later > 0 for earlier, later in itertools.pairwise(curve[4:]))


def test_one_cycle_matches_torch() -> None:
    config = OneCycle(name="one-cycle", peak_fraction=0.3, start_factor=0.04, final_factor=0.0001)
    torch_curve = _torch_curve(
        lambda o: lr_scheduler.OneCycleLR(
            o, 1.0, STEPS + 1, pct_start=0.3 * STEPS / (STEPS + 1), cycle_momentum=False, final_div_factor=400
        )
    )
    # torch's scheduler must be asked for one step more, or its last call of step() is an error.
    assert _curve(config)[: int(0.3 * STEPS)] == pytest.approx(torch_curve[: int(0.3 * STEPS)])
    assert _curve(config)[-1] == pytest.approx(0.0001)
    assert max(_curve(config)) == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "config", [{"name": "cosine"}, {"name": "cosine", "warmup_epochs": 0.1}, {"name": "one-cycle"}], ids=str
)
def test_the_shortest_runs_have_a_learning_rate(config: dict[str, Any], steps: int) -> None:
    curve = _curve(TypeAdapter[Schedule](Schedule).validate_python(config), steps)
    assert curve[0] > 0
    assert all(0 <= factor <= 1 for factor in curve)


def _with_gradients(*values: list[float]) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(len(gradient))) for gradient in values]
    for parameter, gradient in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor(gradient)
    return parameters


def test_clipping_returns_the_norm_from_before() -> None:
    parameters = _with_gradients([3.0], [0.0, 4.0])
    assert clip_gradients(parameters, 1.0, None).item() == pytest.approx(5.0)
    assert clip_gradients(parameters, None, None).item() == pytest.approx(1.0, rel=1e-5)


def test_a_small_gradient_is_not_touched() -> None:
    parameters = _with_gradients([0.3], [0.0, 0.4])
    assert clip_gradients(parameters, 1.0, 1.0).item() == pytest.approx(0.5)
    assert [parameter.grad.tolist() for parameter in parameters if parameter.grad is not None] == [
        pytest.approx([0.3]),
        pytest.approx([0.0, 0.4]),
    ]


def test_values_are_clamped_after_the_norm() -> None:
    parameters = _with_gradients([30.0], [0.0, -40.0])
    assert clip_gradients(parameters, 5.0, 3.5).item() == pytest.approx(50.0)
    gradients = torch.cat([parameter.grad for parameter in parameters if parameter.grad is not None])
    assert gradients.tolist() == pytest.approx([3.0, 0.0, -3.5], rel=1e-5)


def test_a_gradient_that_is_not_finite_shows_in_the_norm() -> None:
    assert not clip_gradients(_with_gradients([float("inf")], [1.0]), 1.0, None).isfinite()


def test_no_gradient_has_no_norm() -> None:
    assert clip_gradients([nn.Parameter(torch.zeros(2))], 1.0, 1.0).item() == 0.0
