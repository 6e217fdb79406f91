"""One place for arithmetic: tf32, mixed precision, the loss scaler."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from trainer.config.train import TrainConfig
from trainer.exits import ConfigError

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def use_precision(config: TrainConfig) -> None:
    """Set what holds for the whole process: whether matrix products of fp32 may run as tf32."""
    if config.precision == "tf32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """The precision of forward passes."""
    half = _HALF.get(config.precision)
    return torch.autocast(device.type, half) if half else nullcontext()


def build_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """A loss scaler, doing nothing except in fp16."""
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError("train.precision: fp16 needs a GPU, and this rank runs on a CPU (allowed here: fp32, bf16)")
    return torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
