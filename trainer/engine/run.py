"""One rank's run from joining the group to the finished results folder."""

import logging
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

from trainer.config import RunFile
from trainer.config.train import TrainConfig
from trainer.data.augment import Augmenter
from trainer.data.images import ImageSplits
from trainer.data.load import load_images
from trainer.data.loader import Loader
from trainer.data.preprocess import Preprocess
from trainer.data.sampler import steps_per_epoch
from trainer.engine.evaluate import Evaluator
from trainer.engine.finish import finish
from trainer.engine.loop import TrainingLoop
from trainer.engine.state import RunningLoss, TrainState
from trainer.engine.step import TrainStep, build_scaler, parameter_count
from trainer.exits import DataError
from trainer.models import build_model, required_channels
from trainer.optim import build_optimizer
from trainer.output.checkpoint import Checkpointer
from trainer.output.results import RunWriter
from trainer.runtime.determinism import derive_seed, use_deterministic_kernels
from trainer.runtime.distributed import Ranks, joined
from trainer.runtime.signals import LeaveRequest

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
    if config.precision == "tf32":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    with joined(config.device, listener=task.listener, timeout=GROUP_TIMEOUT) as ranks:
        splits = load_images(
            config.data, local_rank=ranks.local_rank, local_ranks=ranks.local_world_size, barrier=ranks.barrier
        )
        _Assembly(task, ranks, splits).train_and_finish()


class _Assembly:
    """Builds the parts of a run and connects them."""

    def __init__(self, task: RankTask, ranks: Ranks, splits: ImageSplits) -> None:
        self._task = task
        self._config: TrainConfig = task.run.train
        self._ranks = ranks
        self._splits = splits
        self._steps_per_epoch = steps_per_epoch(samples=len(splits.train), batch_size=self._config.batch_size)
        if self._steps_per_epoch == 0:
            raise DataError(
                f"train.batch_size {self._config.batch_size} is larger than the {len(splits.train)} training samples"
            )
        self._checkpointer = Checkpointer(task.folder, keep=self._config.checkpoint.keep)

    def train_and_finish(self) -> None:
        """Resume or start, train to the end, write the final results."""
        state, loader = self._build()
        self._introduce(state)
        self._resume(state)
        writer = self._open_writer(state)
        evaluator = Evaluator(self._config, state.model, loader, self._ranks, classes=len(self._splits.classes))
        loop = TrainingLoop(
            self._config,
            state=state,
            splits=self._splits,
            loader=loader,
            step=TrainStep(self._config, state, self._ranks, steps_per_epoch=self._steps_per_epoch),
            evaluator=evaluator,
            checkpointer=self._checkpointer,
            writer=writer,
            ranks=self._ranks,
            leave=self._task.leave,
            folder=self._task.folder,
            attempt=self._task.attempt,
            steps_per_epoch=self._steps_per_epoch,
        )
        try:
            loop.run()
        finally:
            if writer:
                writer.close()
        finish(
            self._task.run,
            folder=self._task.folder,
            attempt=self._task.attempt,
            state=state,
            splits=self._splits,
            evaluator=evaluator,
            checkpointer=self._checkpointer,
            preprocess=loader.preprocess,
            ranks=self._ranks,
        )

    def _build(self) -> tuple[TrainState, Loader]:
        config, splits, device = self._config, self._splits, self._ranks.device
        memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        torch.manual_seed(derive_seed("weights", config.seed))
        channels = required_channels(config.model)
        preprocess = Preprocess(splits.mean, splits.std, config.data.image_size, channels)
        shape = preprocess.output_shape(splits.train.images.shape)
        model = build_model(config.model, input_shape=shape, classes=len(splits.classes))
        # Not the tuple overload of to(): it would also convert 4-d buffers of other kinds of networks.
        model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
        state = TrainState(
            model=model,
            optimizer=build_optimizer(config.optimizer, model),
            scaler=build_scaler(config, device),
            loss=RunningLoss.on(device),
        )
        loader = Loader(
            train=splits.train,
            preprocess=preprocess.to(device),
            augment=Augmenter(config.data.augment, config.seed),
            ranks=self._ranks,
            seed=config.seed,
            batch_size=config.batch_size,
            accumulate=config.accumulate,
            memory_format=memory_format,
        )
        return state, loader

    def _introduce(self, state: TrainState) -> None:
        ranks, splits = self._ranks, self._splits
        log.info("rank %d of %d on %s, %s", ranks.rank, ranks.world_size, ranks.device, self._config.precision)
        if not ranks.is_first:
            return
        log.info(
            "%d training, %d validation and %d test samples of %d classes; %s with %d parameters",
            len(splits.train),
            len(splits.validation or ()),
            len(splits.test),
            len(splits.classes),
            self._config.model.name,
            parameter_count(state.model.parameters()),
        )

    def _resume(self, state: TrainState) -> None:
        """Continue from the newest valid checkpoint, the same on all ranks."""
        if self._ranks.is_first:
            self._checkpointer.prepare()
        step = self._ranks.from_first(self._newest_step() if self._ranks.is_first else -1)
        if step < 0:
            return
        saved = self._checkpointer.load(step)
        state.load(saved.tensors, saved.state, rank=self._ranks.rank, world_size=self._ranks.world_size)
        log.info("resumed after step %d, saved by %d ranks", step, saved.state["world_size"])

    def _newest_step(self) -> int:
        step = self._checkpointer.latest_valid_step()
        self._checkpointer.remove_after(-1 if step is None else step)
        return -1 if step is None else step

    def _open_writer(self, state: TrainState) -> RunWriter | None:
        if not self._ranks.is_first:
            return None
        return RunWriter(
            self._task.folder,
            attempt=self._task.attempt,
            metrics_bytes=state.progress.metrics_bytes,
            step=state.progress.step,
            progress_seconds=self._config.logging.progress_seconds,
            stdout=self._task.progress_fd,
        )
