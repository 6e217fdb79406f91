"""TrainConfig: everything that decides what a training run computes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.config.base import Config
from trainer.config.data import Data
from trainer.config.model import Model
from trainer.config.optim import Constant, Cosine, CrossEntropy, Optimizer, Schedule, Sgd


class Checkpoints(Config):
    """When the state is saved and how much of it is kept."""

    every_epochs: Annotated[int, Field(ge=1)] = 1
    """Save at the end of every so many epochs; the last epoch is always saved."""
    every_steps: Annotated[int, Field(ge=1)] | None = None
    """Also save every so many optimizer steps."""
    keep: Annotated[int, Field(ge=1)] = 2
    """How many of the newest checkpoints are kept, besides the best one."""


class Logging(Config):
    """How often numbers are written."""

    every_steps: Annotated[int, Field(ge=1)] = 10
    """A line of metrics.jsonl every so many optimizer steps."""
    progress_seconds: Annotated[float, Field(gt=0.0)] = 2.0
    """A line of progress on stdout at most this often (seconds)."""


class Restarts(Config):
    """How often a crashed run is tried again from its last checkpoint."""

    max_without_progress: Annotated[int, Field(ge=0)] = 3
    """Restarts allowed in a row without a new complete checkpoint; a preemption does not count."""
    backoff_seconds: Annotated[float, Field(ge=0.0)] = 0.5
    """Wait before the first restart (seconds); doubled for each further one without progress, 60 at most."""
    deadline_seconds: Annotated[float, Field(gt=0.0)] | None = None
    """The supervisor ends the run as failed after this long (seconds). Default: no limit."""


class TrainConfig(Config):
    """What is trained, on what, and how."""

    task: Literal["image-classification"]
    """What kind of problem this is."""
    epochs: Annotated[int, Field(ge=1)]
    """Passes over the training data. More epochs continue a finished job."""
    batch_size: Annotated[int, Field(ge=1)]
    """Samples per optimizer step over all ranks, accumulation included."""
    data: Data
    """Data set, splits and augmentation."""
    model: Model
    """Network."""
    loss: CrossEntropy = CrossEntropy(name="cross-entropy")
    """Loss function."""
    optimizer: Optimizer
    """Optimizer."""
    schedule: Schedule = Constant(name="constant")
    """Learning rate over time."""
    clip_grad_norm: Annotated[float, Field(gt=0.0)] | None = None
    """Scale gradients down to this global L2 norm."""
    clip_grad_value: Annotated[float, Field(gt=0.0)] | None = None
    """Clamp each gradient to plus or minus this value (after the norm, where both are given)."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Micro-batches per optimizer step, to fit a large batch into memory."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward and backward pass; fp16 uses a loss scaler and needs a GPU."""
    channels_last: bool = False
    """Keep images and convolutions in NHWC memory order; faster for convolutions."""
    deterministic: bool = False
    """On GPUs: use deterministic kernels only, so that a resumed run is byte-equal. CPUs always are."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run: auto takes a GPU where there is one."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of initial weights, sample order, augmentation and dropout."""
    evaluate_every_epochs: Annotated[int, Field(ge=1)] = 1
    """Evaluate after every so many epochs; the last epoch is always evaluated."""
    checkpoint: Checkpoints = Checkpoints()
    """When the state is saved."""
    logging: Logging = Logging()
    """How often numbers are written. Not part of a job's identity."""
    restarts: Restarts = Restarts()
    """How often a crashed run is tried again."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.batch_size < self.accumulate:
            raise ValueError(f"accumulate: must be <= batch_size ({self.batch_size}; got {self.accumulate})")
        if isinstance(self.schedule, Cosine) and self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs: must be < epochs ({self.epochs})")
        if isinstance(self.optimizer, Sgd) and self.optimizer.nesterov and self.optimizer.momentum == 0:
            raise ValueError("optimizer.nesterov: needs momentum > 0")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision: fp16 needs a GPU (allowed on device cpu: fp32, bf16)")
        return self
