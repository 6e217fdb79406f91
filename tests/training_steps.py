"""Training steps without a supervisor, loop or results folder: what a step computes, on this rank."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor
from torch._dynamo.utils import counters

from tests.trainer_runs import tiny
from trainer.config.train import Train, TrainConfig
from trainer.data.sampler import steps_per_epoch
from trainer.engine.state import RunningLoss, TrainState
from trainer.engine.step import TrainStep
from trainer.models.freezing import Freezing
from trainer.optim import build_optimizer
from trainer.runtime.distributed import Ranks
from trainer.runtime.precision import build_scaler
from trainer.tasks import build_task

CONVNET = {"name": "convnet", "blocks": [[8], [16]], "hidden": [32]}
# 1,437 training digits: 143 samples a step give 10 steps an epoch, and no number of ranks above 1 divides 143.
UNEVEN = tiny(epochs=4, batch_size=143, model=CONVNET)


@dataclass
class Steps:
    """What some steps left."""

    losses: list[float] = field(default_factory=list)
    """Mean loss of each step over all ranks."""
    gradient: dict[str, Tensor] = field(default_factory=dict)
    """Of the last step, as every rank has it."""
    network: dict[str, Tensor] = field(default_factory=dict)
    """Parameters and buffers after the last step."""
    graphs: int = 0
    """How many graphs torch.compile made."""


def config_of(train: dict[str, Any]) -> TrainConfig:
    """The configuration, checked."""
    config: TrainConfig = TypeAdapter[Any](Train).validate_json(json.dumps(train))
    return config


def train_steps(
    train: dict[str, Any], ranks: Ranks, *, steps: int, watch: Callable[[TrainStep], None] | None = None
) -> Steps:
    """Train ``steps`` steps of a job's ``train`` on this rank; ``watch`` sees the step before the first is taken."""
    config = config_of(train)
    task = build_task(config, ranks)
    state = TrainState(
        model=task.model,
        freezing=Freezing.of(config.model, task.model),
        optimizer=build_optimizer(config.optimizer, task.model),
        scaler=build_scaler(config, ranks.device),
        loss=RunningLoss.on(ranks.device),
    )
    per_epoch = steps_per_epoch(samples=task.training_samples, batch_size=config.batch_size)
    step = TrainStep(config, state, task, ranks, steps_per_epoch=per_epoch)
    if watch:
        watch(step)
    done = Steps()

    def batches() -> Iterator[Any]:
        for epoch in range(config.epochs):
            step.begin_epoch(epoch)
            yield from task.epoch(epoch, start=0, steps=per_epoch)

    for number, batch in enumerate(batches(), start=1):
        step(batch)
        loss_sum, units = ranks.sum(state.loss.window.clone()).tolist()
        state.loss.window.zero_()
        done.losses.append(loss_sum / units)
        if number == steps:
            break
    done.gradient = {n: p.grad.detach().cpu() for n, p in task.model.named_parameters() if p.grad is not None}
    done.graphs = counters["stats"]["unique_graphs"]
    done.network = {name: tensor.detach().cpu() for name, tensor in task.model.state_dict().items()}
    return done


def largest_relative_difference(ours: list[float], theirs: list[float]) -> float:
    """Of two curves of losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
