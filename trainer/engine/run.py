"""One rank's run from joining the group to the finished results folder."""

import logging
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from trainer.config import RunFile
from trainer.config.train import TrainConfig
from trainer.data.sampler import steps_per_epoch
from trainer.engine.finish import finish
from trainer.engine.loop import TrainingLoop
from trainer.engine.state import RunningLoss, TrainState
from trainer.engine.step import TrainStep, parameter_count
from trainer.exits import DataError
from trainer.models.freezing import Freezing
from trainer.optim import build_optimizer
from trainer.output.checkpoint import Checkpoint, Checkpointer
from trainer.output.results import RunWriter
from trainer.runtime.determinism import use_deterministic_kernels
from trainer.runtime.distributed import Ranks, joined
from trainer.runtime.precision import build_scaler, use_precision
from trainer.runtime.signals import LeaveRequest
from trainer.tasks import build_task

log = logging.getLogger(__name__)

GROUP_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class RankTask:
    """What the supervisor hands to a rank."""

    run: RunFile
    folder: Path
    attempt: int
    listener: socket.socket | None
    """Bound socket of this generation's store (rank 0 serves it)."""
    progress_fd: int
    """Where progress lines go: the supervisor's stdout."""
    leave: LeaveRequest


def run_rank(task: RankTask) -> None:
    """Train, then write the results. Ends normally only when everything is on disk."""
    config = task.run.train
    use_deterministic_kernels(deterministic=config.deterministic)
    use_precision(config)
    with joined(config.device, listener=task.listener, timeout=GROUP_TIMEOUT) as ranks:
        _Assembly(task, ranks).train_and_finish()


class _Assembly:
    """Builds the parts of a run and connects them."""

    def __init__(self, job: RankTask, ranks: Ranks) -> None:
        self._job = job
        self._config: TrainConfig = job.run.train
        self._ranks = ranks
        self._task = build_task(self._config, ranks)
        samples = self._task.training_samples
        self._steps_per_epoch = steps_per_epoch(samples=samples, batch_size=self._config.batch_size)
        if self._steps_per_epoch == 0:
            raise DataError(f"train.batch_size {self._config.batch_size} is larger than the {samples} training samples")
        if self._config.early_stop and not self._task.has_validation:
            raise DataError("train.early_stop: there is no validation split; set train.data.validation_fraction")
        self._checkpointer = Checkpointer(job.folder, keep=self._config.checkpoint.keep)

    def train_and_finish(self) -> None:
        """Resume or start, train to the end, write the final results."""
        job, ranks = self._job, self._ranks
        if ranks.is_first:
            self._checkpointer.prepare()
        saved = self._newest_checkpoint()
        state = self._build_state(epoch=saved.state["progress"]["epochs_closed"] if saved else 0)
        self._introduce(state)
        if saved:
            state.load(saved.tensors, saved.state, rank=ranks.rank, world_size=ranks.world_size)
            log.info("resumed after step %d, saved by %d ranks", saved.step, saved.state["world_size"])
        writer = self._open_writer(state)
        loop = TrainingLoop(
            self._config,
            state=state,
            task=self._task,
            step=TrainStep(self._config, state, self._task, ranks, steps_per_epoch=self._steps_per_epoch),
            checkpointer=self._checkpointer,
            writer=writer,
            ranks=ranks,
            leave=job.leave,
            folder=job.folder,
            attempt=job.attempt,
            steps_per_epoch=self._steps_per_epoch,
        )
        try:
            loop.run()
        finally:
            if writer:
                writer.close()
        finish(
            job.run,
            folder=job.folder,
            attempt=job.attempt,
            state=state,
            task=self._task,
            checkpointer=self._checkpointer,
            ranks=ranks,
        )

    def _build_state(self, *, epoch: int) -> TrainState:
        """The state before the first step, with what learns in ``epoch`` (from 0) trainable."""
        config, model, device = self._config, self._task.model, self._ranks.device
        freezing = Freezing.of(config.model, model)
        freezing.enter(epoch)
        return TrainState(
            model=model,
            freezing=freezing,
            optimizer=build_optimizer(config.optimizer, model),
            scaler=build_scaler(config, device),
            loss=RunningLoss.on(device),
        )

    def _introduce(self, state: TrainState) -> None:
        ranks = self._ranks
        log.info("rank %d of %d on %s, %s", ranks.rank, ranks.world_size, ranks.device, self._config.precision)
        if ranks.is_first:
            trainable = parameter_count(state.model.parameters())
            log.info("%s with %d trainable parameters", self._task.introduction(), trainable)

    def _newest_checkpoint(self) -> Checkpoint | None:
        """The newest valid checkpoint, the same on all ranks."""
        step = self._ranks.from_first(self._newest_step() if self._ranks.is_first else -1)
        return self._checkpointer.load(step) if step >= 0 else None

    def _newest_step(self) -> int:
        step = self._checkpointer.latest_valid_step()
        self._checkpointer.remove_after(-1 if step is None else step)
        return -1 if step is None else step

    def _open_writer(self, state: TrainState) -> RunWriter | None:
        if not self._ranks.is_first:
            return None
        return RunWriter(
            self._job.folder,
            attempt=self._job.attempt,
            metrics_bytes=state.progress.metrics_bytes,
            step=state.progress.step,
            batch_size=self._config.batch_size,
            progress_seconds=self._config.logging.progress_seconds,
            stdout=self._job.progress_fd,
        )
