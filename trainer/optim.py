"""Optimizers, the learning rate as a function of the step, and gradient clipping."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch import optim as torch_optim

from trainer.config.optim import Adam, AdamW, Constant, Cosine, OneCycle, Optimizer, Schedule, Sgd, Step

FUSED_DEVICES = ("cpu", "cuda")


def _sgd(config: Sgd, groups: list[dict[str, Any]], fused: bool) -> torch_optim.Optimizer:
    optimizer = torch_optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, weight_decay=0.0, fused=fused
    )
    if config.momentum:
        # The fused kernel refuses parameters with momentum beside new ones without, as there are when layers unfreeze.
        # From zero the first step is what it is without: 0.9 x 0 + gradient.
        for parameter in (parameter for group in groups for parameter in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _adam(config: Adam, groups: list[dict[str, Any]], fused: bool) -> torch_optim.Optimizer:
    return torch_optim.Adam(groups, lr=config.lr, betas=config.betas, weight_decay=0.0, fused=fused)


def _adamw(config: AdamW, groups: list[dict[str, Any]], fused: bool) -> torch_optim.Optimizer:
    return torch_optim.AdamW(groups, lr=config.lr, betas=config.betas, weight_decay=0.0, fused=fused)


OPTIMIZERS: dict[type, Callable[[Any, list[dict[str, Any]], bool], torch_optim.Optimizer]] = {
    Sgd: _sgd,
    Adam: _adam,
    AdamW: _adamw,
}


def build_optimizer(config: Optimizer, model: nn.Module) -> torch_optim.Optimizer:
    """An optimizer over the trainable parameters of ``model``, which must already be on its device.

    Parameters of one dimension (biases, norms) are not decayed: shrinking a scale or an offset regularises nothing
    (Goyal et al., "Accurate, Large Minibatch SGD", 2017). One fused kernel updates all parameters where there is one.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    plain = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    fused = all(parameter.device.type in FUSED_DEVICES for parameter in parameters)
    return OPTIMIZERS[type(config)](config, [group for group in groups if group["params"]], fused)


def set_learning_rate(optimizer: torch_optim.Optimizer, base_lr: float, factor: float) -> None:
    """Make every group of ``optimizer`` use ``base_lr * factor`` from its next step on."""
    for group in optimizer.param_groups:
        group["lr"] = base_lr * factor


def learning_rate_factor(config: Schedule, *, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of one optimizer step as a share of the peak; a pure function, so resuming needs no state.

    Args:
        config: The schedule.
        step: The optimizer step about to be taken, from 0.
        steps: Optimizer steps of the whole run.
        steps_per_epoch: Optimizer steps of an epoch.
    """
    return SCHEDULES[type(config)](config, step, steps, steps_per_epoch)


def _constant(_config: Constant, _step: int, _steps: int, _steps_per_epoch: int) -> float:
    return 1.0


def _stairs(config: Step, step: int, _steps: int, steps_per_epoch: int) -> float:
    return config.gamma ** (step // steps_per_epoch // config.every_epochs)


def _cosine(config: Cosine, step: int, steps: int, steps_per_epoch: int) -> float:
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)  # the first step already learns, and the first after the warm-up has the peak
    return _half_cosine(1.0, config.final_factor, (step - warmup) / (steps - warmup))


def _one_cycle(config: OneCycle, step: int, steps: int, _steps_per_epoch: int) -> float:
    peak, last = config.peak_fraction * steps - 1, steps - 1
    if step < peak:
        return _half_cosine(config.start_factor, 1.0, step / peak)
    start = max(peak, 0.0)
    return _half_cosine(1.0, config.final_factor, (step - start) / (last - start)) if last > start else 1.0


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[type, Callable[[Any, int, int, int], float]] = {
    Constant: _constant,
    Step: _stairs,
    Cosine: _cosine,
    OneCycle: _one_cycle,
}


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], norm: float | None, value: float | None) -> Tensor:
    """Limit gradients in place: first their global L2 norm to ``norm``, then each element to plus or minus ``value``.

    Returns:
        The global L2 norm before clipping, a scalar on the device of the gradients, computed once; 0 without gradients.
        It is not finite where a gradient is not: the caller checks before it steps.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = nn.utils.get_total_norm(gradients, foreach=True)
    if norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, norm, total, foreach=True)
    if value is not None and parameters:
        nn.utils.clip_grad_value_(parameters, value, foreach=True)
    return total
