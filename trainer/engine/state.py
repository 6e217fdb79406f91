"""What a run is made of and where it stands, and how both go into a checkpoint and come back."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.models.freezing import Freezing
from trainer.output.checkpoint import Tensors


@dataclass
class Progress:
    """Where the run stands. Everything else about position follows from ``step``."""

    step: int = 0
    """Optimizer steps done."""
    epochs_closed: int = 0
    """Epochs whose evaluation is done and written."""
    metrics_bytes: int = 0
    """Length of metrics.jsonl at this point; what is beyond it is cut off on resume."""
    best_step: int | None = None
    """Step of the best checkpoint so far."""
    best_value: float | None = None
    """What the metric of the validation split was at the best checkpoint."""
    gained_value: float | None = None
    """The same when it last gained enough to count for early stopping."""
    evaluations_without_gain: int = 0
    """Evaluations in a row since then."""
    scaler_skips: int = 0
    """Steps in a row that the fp16 loss scaler skipped."""
    last_loss: float | None = None
    """The newest loss that was written."""


@dataclass
class RunningLoss:
    """Sums of this rank's losses, kept on the device so that a step never waits for a number."""

    window: Tensor
    """float64 [2]: loss sum and its number of terms since the last line of metrics.jsonl."""
    epoch: Tensor
    """float64 [2]: the same since the epoch began."""

    @classmethod
    def on(cls, device: torch.device) -> "RunningLoss":
        """Zero sums."""
        return cls(*(torch.zeros(2, dtype=torch.float64, device=device) for _ in range(2)))

    def add(self, loss_sum: Tensor, units: int) -> None:
        """Count a step's share of this rank."""
        both = torch.stack((loss_sum.detach().double(), torch.full_like(loss_sum, units, dtype=torch.float64)))
        self.window += both
        self.epoch += both

    def to_list(self) -> list[float]:
        """The four sums, exactly."""
        return [*self.window.tolist(), *self.epoch.tolist()]

    def load(self, rows: list[list[float]], rank: int, world_size: int) -> None:
        """Take this rank's sums back; at another number of ranks, rank 0 takes the total."""
        if len(rows) == world_size:
            values = rows[rank]
        else:
            values = [sum(column) for column in zip(*rows, strict=True)] if rank == 0 else [0.0] * 4
        self.window.copy_(torch.tensor(values[:2], dtype=torch.float64))
        self.epoch.copy_(torch.tensor(values[2:], dtype=torch.float64))


@dataclass
class TrainState:
    """Everything that changes while training."""

    model: nn.Module
    freezing: Freezing
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    loss: RunningLoss
    progress: Progress = field(default_factory=Progress)

    def replace_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Go on with ``optimizer``, which takes over the moments of the parameters that both have."""
        kept = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        optimizer.state.update({key: value for key, value in self.optimizer.state.items() if key in kept})
        self.optimizer = optimizer

    def tensors(self) -> dict[str, Tensors]:
        """Model and optimizer tensors, by file."""
        model = {name: tensor.detach() for name, tensor in self.model.state_dict().items()}
        return {"model": model, "optimizer": optimizer_tensors(self.optimizer, self.model)}

    def values(self, loss_rows: list[list[float]]) -> dict[str, Any]:
        """All that is not a tensor, JSON-ready. ``loss_rows`` has every rank's running sums."""
        return {
            "progress": asdict(self.progress),
            "loss_sums": loss_rows,
            "scaler": self.scaler.state_dict(),
            "world_size": len(loss_rows),
        }

    def load(self, tensors: dict[str, Tensors], values: dict[str, Any], *, rank: int, world_size: int) -> None:
        """Put a checkpoint back. What learned when it was saved must be trainable and in the optimizer."""
        self.model.load_state_dict(tensors["model"])
        load_optimizer(self.optimizer, self.model, tensors["optimizer"])
        self.progress = Progress(**values["progress"])
        self.loss.load(values["loss_sums"], rank, world_size)
        if values["scaler"]:
            self.scaler.load_state_dict(values["scaler"])


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> Tensors:
    """Moments by the name of their parameter, such as ``fc.weight.exp_avg``: its place changes when layers unfreeze."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Tensors) -> None:
    """Put moments back, each in its parameter's memory layout: fused kernels walk both in storage order."""
    parameters = dict(model.named_parameters())
    for entry, saved in tensors.items():
        name, key = entry.rsplit(".", 1)
        parameter = parameters[name]
        if saved.shape == parameter.shape:
            restored = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(saved)
        else:  # step counters; fused kernels want them beside the parameter
            restored = saved.to(parameter.device)
        optimizer.state[parameter][key] = restored
