"""The training loop."""

import logging
from contextlib import nullcontext
from pathlib import Path

import torch

from trainer.config.train import TrainConfig
from trainer.data.images import ImageSplits
from trainer.data.loader import Loader
from trainer.engine.evaluate import Evaluator
from trainer.engine.state import TrainState
from trainer.engine.step import StepResult, TrainStep
from trainer.exits import InfrastructureError, Preempted
from trainer.metrics import classification_summary
from trainer.output.attempts import check_not_superseded
from trainer.output.checkpoint import Checkpoint, Checkpointer
from trainer.output.results import RunWriter
from trainer.runtime.distributed import DelayedAgreement, Ranks
from trainer.runtime.signals import LeaveRequest

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
        splits: ImageSplits,
        loader: Loader,
        step: TrainStep,
        evaluator: Evaluator,
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
        self._splits = splits
        self._loader = loader
        self._step = step
        self._evaluate = evaluator
        self._checkpointer = checkpointer
        self._writer = writer
        self._ranks = ranks
        self._leave = leave
        self._agreement = DelayedAgreement(ranks)
        self._folder = folder
        self._attempt = attempt
        self._steps_per_epoch = steps_per_epoch

    def run(self) -> None:
        """Train until every epoch is closed.

        Raises:
            Preempted: the ranks were asked to leave, and have saved.
        """
        progress = self._state.progress
        while progress.epochs_closed < self._config.epochs:
            epoch = progress.epochs_closed
            done = progress.step - epoch * self._steps_per_epoch
            for batches in self._loader.epoch(epoch, start=done, steps=self._steps_per_epoch):
                self._log(self._step(batches))
                self._save_between_epochs()
                self._leave_if_asked()
            with self._writer.off_the_clock() if self._writer else nullcontext():
                self._close_epoch()

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
                batch_size=self._config.batch_size,
            )

    def _write_window(self, result: StepResult) -> None:
        progress, window = self._state.progress, self._state.loss.window
        loss_sum, samples = self._ranks.sum(window.clone()).tolist()
        window.zero_()
        progress.last_loss = loss_sum / samples
        if self._writer:
            self._writer.write_step(
                step=progress.step,
                epoch=progress.epochs_closed + 1,
                loss=progress.last_loss,
                lr=result.learning_rate,
                grad_norm=float(result.grad_norm),
                samples=int(samples),
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
        last = epoch == self._config.epochs
        improved = False
        if last or epoch % self._config.evaluate_every_epochs == 0:
            improved = self._evaluate_epoch(epoch)
        self._state.loss.epoch.zero_()
        progress.epochs_closed = epoch
        if improved:
            progress.best_step = progress.step
        if last or improved or epoch % self._config.checkpoint.every_epochs == 0:
            self.save()

    def _evaluate_epoch(self, epoch: int) -> bool:
        """Evaluate the validation split (the test split where there is none); whether this is the best epoch so far.

        Without a validation split nothing is selected: the best checkpoint is the newest.
        """
        progress, splits = self._state.progress, self._splits
        self._share_buffers()
        split, samples = ("validation", splits.validation) if splits.validation else ("test", splits.test)
        evaluation = self._evaluate(samples)
        loss_sum, seen = self._ranks.sum(self._state.loss.epoch.clone()).tolist()
        scores = classification_summary(evaluation.confusion, splits.classes)
        train_loss = loss_sum / seen
        if self._writer:
            log.info(
                "epoch %d of %d: train loss %.4f, %s loss %.4f, accuracy %.4f",
                epoch,
                self._config.epochs,
                train_loss,
                split,
                evaluation.loss,
                evaluation.accuracy,
            )
            self._writer.write_epoch(
                step=progress.step,
                epoch=epoch,
                train_loss=train_loss,
                split=split,
                scores={
                    "loss": evaluation.loss,
                    "accuracy": evaluation.accuracy,
                    "macro_f1": scores["macro"]["f1"],
                },
            )
        if splits.validation and progress.best_value is not None and evaluation.accuracy <= progress.best_value:
            return False
        progress.best_value = evaluation.accuracy if splits.validation else None
        return True

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
        self._checkpointer.save(Checkpoint(step, state.tensors(), state.values(loss_rows)))
        best = state.progress.best_step
        if best == step:
            value = state.progress.best_value
            chosen = {"selected_by": "validation accuracy", "value": value} if value else {"selected_by": "last epoch"}
            self._checkpointer.mark_best({"step": step, "epoch": state.progress.epochs_closed, **chosen})
        self._checkpointer.expire(best_step=best)
