"""One optimizer step: forward, backward, unscale, clip, finite check, step."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.config.train import TrainConfig
from trainer.data.batch import Batch, StepBatches
from trainer.engine.parallel import ParallelNetwork
from trainer.engine.state import TrainState
from trainer.exits import NonFiniteError
from trainer.optim import build_optimizer, clip_gradients, learning_rate_factor, set_learning_rate
from trainer.runtime.distributed import Ranks
from trainer.runtime.precision import autocast
from trainer.tasks.base import Task

# The fp16 scaler halves its scale at each skip: from 65,536 it is at 1 after 16, so more in a row is divergence.
MAX_SCALER_SKIPS = 30


@dataclass(frozen=True)
class StepResult:
    """What a step leaves to be logged; the norm stays on the device."""

    grad_norm: Tensor
    """Global L2 norm of the gradient before clipping, a scalar, equal on all ranks."""
    learning_rate: float


class TrainStep:
    """Turns micro-batches into one update, equal on all ranks.

    Each rank's summed loss is divided by the terms of the global batch and multiplied by the number of ranks, so that
    the mean that DistributedDataParallel takes over ranks is the mean over all terms, however unevenly they are shared.
    """

    def __init__(
        self, config: TrainConfig, state: TrainState, task: Task, ranks: Ranks, *, steps_per_epoch: int
    ) -> None:
        self._config = config
        self._state = state
        self._task = task
        self._ranks = ranks
        self._steps_per_epoch = steps_per_epoch
        self._wrap()

    def _wrap(self) -> None:
        """Share gradients between ranks, of the parameters that are trainable now."""
        self.network = ParallelNetwork(self._config, self._state.model, self._ranks)
        self._settled = not self.network.is_distributed
        self._is_first = True

    def begin_epoch(self, epoch: int) -> None:
        """Unfreeze what learns from ``epoch`` (from 0) on; optimizer moments of what learned before stay."""
        state = self._state
        if state.freezing.enter(epoch):
            state.replace_optimizer(build_optimizer(self._config.optimizer, state.model))
            self._wrap()

    def __call__(self, batches: StepBatches) -> StepResult:
        """Take step ``progress.step`` on this rank's micro-batches and count it."""
        state, config = self._state, self._config
        if not self._settled:
            self._settle_buckets(batches.parts[0])
        step, steps = state.progress.step, config.epochs * self._steps_per_epoch
        self.network.seed(config.seed, step)
        self._training_mode()
        state.optimizer.zero_grad(set_to_none=True)
        loss_sum = self._backward(batches, step / steps)
        state.scaler.unscale_(state.optimizer)
        norm = clip_gradients(state.model.parameters(), config.clip_grad_norm, config.clip_grad_value)
        self._check_finite(loss_sum, norm)
        factor = learning_rate_factor(config.schedule, step=step, steps=steps, steps_per_epoch=self._steps_per_epoch)
        set_learning_rate(state.optimizer, config.optimizer.lr, factor)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.loss.add(loss_sum, sum(batch.units for batch in batches.parts))
        state.progress.step += 1
        if self._is_first:
            self.network.warn_if_uncompiled()
            self._is_first = False
        return StepResult(norm, config.optimizer.lr * factor)

    def _training_mode(self) -> None:
        self.network.module.train()
        self._state.freezing.hold()

    def _settle_buckets(self, batch: Batch) -> None:
        """Let DDP choose its buckets before the first real step, by a backward pass that is thrown away.

        DDP arranges gradients anew after its first backward pass, and with more than two ranks the arrangement decides
        the order in which they are summed. Without this, a resumed run's first step would round unlike the same step of
        a run that went straight through.
        """
        self._training_mode()
        buffers = [buffer.clone() for buffer in self._state.model.buffers()]
        with autocast(self._config, self._ranks.device):
            loss = self._task.loss(self.network.module, batch, 0.0)
        loss.backward()  # type: ignore[no-untyped-call]
        for buffer, before in zip(self._state.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self._settled = True

    def _backward(self, batches: StepBatches, progress: float) -> Tensor:
        total = torch.zeros((), device=self._ranks.device)
        for index, batch in enumerate(batches.parts):
            with self.network.exchange(now=index == len(batches.parts) - 1):
                with autocast(self._config, self._ranks.device):
                    loss_sum = self._task.loss(self.network.module, batch, progress)
                scaled: Tensor = self._state.scaler.scale(loss_sum * (self._ranks.world_size / batches.units))
                scaled.backward()  # type: ignore[no-untyped-call]
            total += loss_sum.detach()
        return total

    def _check_finite(self, loss_sum: Tensor, norm: Tensor) -> None:
        """Stop before a non-finite gradient reaches the weights. The norm is equal on all ranks, so all stop."""
        if self._state.scaler.is_enabled():
            self._count_scaler_skip(norm)
        elif self._ranks.device.type == "cuda":
            # Checked on the device: waiting for the number here would stall every step.
            torch._assert_async(torch.isfinite(norm), "loss or gradient is not finite")
        elif not torch.isfinite(norm):
            raise self._non_finite(loss_sum, norm)

    def _count_scaler_skip(self, norm: Tensor) -> None:
        progress = self._state.progress
        progress.scaler_skips = 0 if torch.isfinite(norm) else progress.scaler_skips + 1
        if progress.scaler_skips > MAX_SCALER_SKIPS:
            raise self._non_finite(norm, norm)

    def _non_finite(self, loss_sum: Tensor, norm: Tensor) -> NonFiniteError:
        progress = self._state.progress
        return NonFiniteError(
            f"step {progress.step + 1}: loss {loss_sum.item():g} or gradient norm {norm.item():g} is not finite "
            f"on rank {self._ranks.rank} (learning rate {self._state.optimizer.param_groups[0]['lr']:g}, "
            f"last finite loss {progress.last_loss}); "
            "lower optimizer.lr, set clip_grad_norm, or check the data; the last checkpoint is finite"
        )


def parameter_count(parameters: Iterable[nn.Parameter]) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
