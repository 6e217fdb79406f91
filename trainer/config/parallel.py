"""How the work of a step is shared between devices."""

from typing import Literal, Self

from pydantic import model_validator

from trainer.config.base import Config


class Parallel(Config):
    """How the samples of a step are shared between devices."""

    strategy: Literal["ddp", "data-parallel"] = "ddp"
    """ddp: a process a GPU, on any number of nodes (Li et al., 2020). data-parallel: one process for all GPUs of one
    node, by torch's DataParallel. It is slower, since it copies the network to each GPU at every step, and BatchNorm
    keeps the statistics of the first GPU's samples."""
    sync_batch_norm: bool = False
    """BatchNorm takes its statistics over all ranks instead of over each rank's samples, so that the learning curve is
    the same on any number of ranks. Costs two exchanges a layer and micro-batch; with `accumulate`, statistics are
    those of a micro-batch."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.strategy == "data-parallel" and self.sync_batch_norm:
            raise ValueError("sync_batch_norm: needs strategy ddp; DataParallel cannot share statistics between GPUs")
        return self
