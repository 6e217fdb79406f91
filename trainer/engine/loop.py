"""The training loop."""

import logging
from contextlib import nullcontext
from pathlib import Path

import torch

from trainer.config.train import TrainConfig
from trainer.engine.state import TrainState
from trainer.engine.step import StepResult, TrainStep
from trainer.exits import InfrastructureError, Preempted
from trainer.output.attempts import check_not_superseded
from trainer.output.checkpoint import Checkpoint, Checkpointer
from trainer.output.results import RunWriter
from trainer.runtime.distributed import DelayedAgreement, Ranks
from trainer.runtime.signals import LeaveRequest
from trainer.tasks.base import Split, Task

log = logging.getLogger(__name__)


class TrainingLoop:
    """Trains to the last epoch, evaluating, logging and saving on the way; the same on every rank.

    Only rank 0 has a ``writer`` that writes. Whatever all ranks must decide alike (leave, save, stop) follows from the
    step count or is agreed on first.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        state: TrainState,
        task: Task,
        step: TrainStep,
        checkpointer: Checkpointer,
        writer: RunWriter | None,
        ranks: Ranks,
        leave: LeaveRequest,
        folder: Path,
        attempt: int,
        steps_per_epoch: int,
    ) -> None:
        self._config = config
        self._state = state
        self._task = task
        self._step = step
        self._checkpointer = checkpointer
        self._writer = writer
        self._ranks = ranks
        self._leave = leave
        self._agreement = DelayedAgreement(ranks)
        self._folder = folder
        self._attempt = attempt
        self._steps_per_epoch = steps_per_epoch

    def run(self) -> None:
        """Train until every epoch is closed, or the validation split has stopped gaining.

        Raises:
            Preempted: the ranks were asked to leave, and have saved.
        """
        progress = self._state.progress
        while not self._ended:
            epoch = progress.epochs_closed
            done = progress.step - epoch * self._steps_per_epoch
            self._step.begin_epoch(epoch)
            for batches in self._task.epoch(epoch, start=done, steps=self._steps_per_epoch):
                self._log(self._step(batches))
                self._save_between_epochs()
                self._leave_if_asked()
            with self._writer.off_the_clock() if self._writer else nullcontext():
                self._close_epoch()

    @property
    def _ended(self) -> bool:
        progress, early_stop = self._state.progress, self._config.early_stop
        stopped = early_stop is not None and progress.evaluations_without_gain >= early_stop.patience
        return stopped or progress.epochs_closed >= self._config.epochs

    def _log(self, result: StepResult) -> None:
        progress = self._state.progress
        if progress.step % self._config.logging.every_steps == 0:
            self._write_window(result)
        if self._writer:
            self._writer.show_progress(
                step=progress.step,
                steps=self._config.epochs * self._steps_per_epoch,
                epoch=progress.epochs_closed + 1,
                epochs=self._config.epochs,
                loss=progress.last_loss,
            )

    def _write_window(self, result: StepResult) -> None:
        progress, window = self._state.progress, self._state.loss.window
        loss_sum, units = self._ranks.sum(window.clone()).tolist()
        window.zero_()
        progress.last_loss = loss_sum / units
        if self._writer:
            self._writer.write_step(
                step=progress.step,
                epoch=progress.epochs_closed + 1,
                loss=progress.last_loss,
                lr=result.learning_rate,
                grad_norm=float(result.grad_norm),
            )

    def _save_between_epochs(self) -> None:
        every, step = self._config.checkpoint.every_steps, self._state.progress.step
        if every and step % every == 0 and step % self._steps_per_epoch != 0:
            self.save()

    def _leave_if_asked(self) -> None:
        if self._agreement.ask(self._leave.asked):
            self.save()
            raise Preempted(f"asked to leave; saved after step {self._state.progress.step}")

    def _close_epoch(self) -> None:
        """Evaluate, write the epoch's line and save, as far as each is due."""
        progress = self._state.progress
        epoch = progress.epochs_closed + 1
        improved = False
        if epoch == self._config.epochs or epoch % self._config.evaluate_every_epochs == 0:
            improved = self._evaluate_epoch(epoch)
        self._state.loss.epoch.zero_()
        progress.epochs_closed = epoch
        if improved:
            progress.best_step = progress.step
        if self._ended and epoch < self._config.epochs and self._writer:
            log.info("stopped early: %d evaluations without a gain", progress.evaluations_without_gain)
        if self._ended or improved or epoch % self._config.checkpoint.every_epochs == 0:
            self.save()

    def _evaluate_epoch(self, epoch: int) -> bool:
        """Evaluate the validation split (the test split where there is none); whether this is the best epoch so far.

        Without a validation split nothing is selected: the best checkpoint is the newest.
        """
        progress = self._state.progress
        self._share_buffers()
        split: Split = "validation" if self._task.has_validation else "test"
        evaluation = self._task.evaluate(split)
        loss_sum, units = self._ranks.sum(self._state.loss.epoch.clone()).tolist()
        scores = {"loss": evaluation.loss, **evaluation.scores}
        if self._writer:
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())
            log.info(
                "epoch %d of %d: train loss %.4f, %s %s", epoch, self._config.epochs, loss_sum / units, split, shown
            )
            self._writer.write_epoch(
                step=progress.step, epoch=epoch, train_loss=loss_sum / units, split=split, scores=scores
            )
        if split == "test":
            return True
        value = evaluation.scores[self._task.selection.score]
        self._count_gain(value)
        if progress.best_value is not None and self._task.selection.gain(value, progress.best_value) <= 0:
            return False
        progress.best_value = value
        return True

    def _count_gain(self, value: float) -> None:
        """Count the evaluations that did not gain enough; small gains add up to one that counts."""
        progress, early_stop = self._state.progress, self._config.early_stop
        enough = early_stop.min_gain if early_stop else 0.0
        if progress.gained_value is None or self._task.selection.gain(value, progress.gained_value) > enough:
            progress.gained_value, progress.evaluations_without_gain = value, 0
        else:
            progress.evaluations_without_gain += 1

    def _share_buffers(self) -> None:
        """Give all ranks rank 0's BatchNorm statistics, which is what a checkpoint holds."""
        if self._ranks.world_size > 1:
            for buffer in self._state.model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def save(self) -> None:
        """Write a checkpoint of this step; all ranks call it, and all learn whether it failed."""
        loss_rows = self._ranks.gather(self._state.loss.to_list())
        failure: Exception | None = None
        if self._writer:
            try:
                self._write_checkpoint(self._writer, loss_rows)
            except Exception as error:  # noqa: BLE001 - told to the other ranks before it is raised
                failure = error
        if failure:
            self._ranks.agree_any(True)
            raise failure
        if self._ranks.agree_any(False):
            raise InfrastructureError("rank 0 could not save the checkpoint")

    def _write_checkpoint(self, writer: RunWriter, loss_rows: list[list[float]]) -> None:
        check_not_superseded(self._folder, self._attempt)
        state = self._state
        state.progress.metrics_bytes = writer.metrics_bytes()
        step = state.progress.step
        values = {**state.values(loss_rows), "network": self._task.network().model_dump(mode="json")}
        self._checkpointer.save(Checkpoint(step, state.tensors(), values))
        best = state.progress.best_step
        if best == step:
            chosen = {"selected_by": selected_by(self._task), "value": state.progress.best_value}
            self._checkpointer.mark_best({"step": step, "epoch": state.progress.epochs_closed, **chosen})
        self._checkpointer.expire(best_step=best)


def selected_by(task: Task) -> str:
    """What chose the best checkpoint, in words."""
    return f"validation {task.selection.score.replace('_', ' ')}" if task.has_validation else "last epoch"
