"""What a run is made of and where it stands, and how both go into a checkpoint and come back."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

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
    """Validation accuracy of the best checkpoint."""
    scaler_skips: int = 0
    """Steps in a row that the fp16 loss scaler skipped."""
    last_loss: float | None = None
    """The newest loss that was written."""


@dataclass
class RunningLoss:
    """Sums of this rank's losses, kept on the device so that a step never waits for a number."""

    window: Tensor
    """float64 [2]: loss sum and samples since the last line of metrics.jsonl."""
    epoch: Tensor
    """float64 [2]: the same since the epoch began."""

    @classmethod
    def on(cls, device: torch.device) -> "RunningLoss":
        """Zero sums."""
        return cls(*(torch.zeros(2, dtype=torch.float64, device=device) for _ in range(2)))

    def add(self, loss_sum: Tensor, samples: int) -> None:
        """Count a step's share of this rank."""
        both = torch.stack((loss_sum.detach().double(), torch.full_like(loss_sum, samples, dtype=torch.float64)))
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
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    loss: RunningLoss
    progress: Progress = field(default_factory=Progress)

    def tensors(self) -> dict[str, Tensors]:
        """Model and optimizer tensors, by file."""
        model = {name: tensor.detach() for name, tensor in self.model.state_dict().items()}
        return {"model": model, "optimizer": _flatten(self.optimizer.state_dict()["state"])}

    def values(self, loss_rows: list[list[float]]) -> dict[str, Any]:
        """All that is not a tensor, JSON-ready. ``loss_rows`` has every rank's running sums."""
        return {
            "progress": asdict(self.progress),
            "loss_sums": loss_rows,
            "scaler": self.scaler.state_dict(),
            "world_size": len(loss_rows),
        }

    def load(self, tensors: dict[str, Tensors], values: dict[str, Any], *, rank: int, world_size: int) -> None:
        """Put a checkpoint back."""
        self.model.load_state_dict(tensors["model"])
        load_optimizer(self.optimizer, tensors["optimizer"])
        self.progress = Progress(**values["progress"])
        self.loss.load(values["loss_sums"], rank, world_size)
        if values["scaler"]:
            self.scaler.load_state_dict(values["scaler"])


def _flatten(state: dict[int, dict[str, Any]]) -> Tensors:
    return {
        f"{index}.{key}": value
        for index, entries in state.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put moments back, each in its parameter's memory layout: fused kernels walk both in storage order."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, saved in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if saved.shape == parameter.shape:
            restored = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(saved)
        else:  # step counters; fused kernels want them beside the parameter
            restored = saved.to(parameter.device)
        optimizer.state[parameter][key] = restored
