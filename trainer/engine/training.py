"""One training on one rank: its parts are built, connected, put back from the newest checkpoint, and run to the end."""

import logging
import socket
from dataclasses import dataclass
from pathlib import Path

from trainer.config import RunFile
from trainer.config.imports import Source
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
from trainer.output.results import FoldPlace, RunWriter
from trainer.own_code.imports import changed
from trainer.runtime.distributed import Ranks
from trainer.runtime.precision import build_scaler
from trainer.runtime.signals import LeaveRequest
from trainer.tasks.base import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RankTask:
    """What the supervisor hands to a rank."""

    run: RunFile
    folder: Path
    """Results folder of the job."""
    attempt: int
    listener: socket.socket | None
    """Bound socket of this generation's store (rank 0 serves it)."""
    progress_fd: int
    """Where progress lines go: the supervisor's stdout."""
    leave: LeaveRequest


class Training:
    """Trains one task into one folder: the job's, or that of a fold of it."""

    def __init__(
        self, job: RankTask, ranks: Ranks, task: Task, *, folder: Path | None = None, fold: FoldPlace | None = None
    ) -> None:
        self._job = job
        self._config: TrainConfig = job.run.train
        self._ranks = ranks
        self._task = task
        self._folder = folder or job.folder
        self._fold = fold
        samples = self._task.training_samples
        self._steps_per_epoch = steps_per_epoch(samples=samples, batch_size=self._config.batch_size)
        if self._steps_per_epoch == 0:
            raise DataError(f"train.batch_size {self._config.batch_size} is larger than the {samples} training samples")
        if self._config.early_stop and not self._task.has_validation:
            raise DataError("train.early_stop: there is no validation split; set train.data.validation_fraction")
        self._checkpointer = Checkpointer(self._folder, keep=self._config.checkpoint.keep)

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
            self._warn_of_changed_code(saved)
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
            job_folder=job.folder,
            folder=self._folder,
            attempt=job.attempt,
            fold=self._fold,
            state=state,
            task=self._task,
            checkpointer=self._checkpointer,
            ranks=ranks,
        )

    def _warn_of_changed_code(self, saved: Checkpoint) -> None:
        """Say which of the user's own modules are no longer what the checkpoint was trained with."""
        before = {name: Source(**source) for name, source in saved.state["network"].get("code", {}).items()}
        if self._ranks.is_first and (names := changed(before, self._task.code)):
            log.warning("code of your own has changed since step %d: %s", saved.step, ", ".join(names))

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
            self._folder,
            attempt=self._job.attempt,
            metrics_bytes=state.progress.metrics_bytes,
            step=state.progress.step,
            batch_size=self._config.batch_size,
            progress_seconds=self._config.logging.progress_seconds,
            stdout=self._job.progress_fd,
            fold=self._fold,
        )
