"""BatchNorm whose statistics are those of the micro-batches of all ranks together.

On GPUs torch's own SyncBatchNorm is used; it has no form for CPUs, so the one here has the same mathematics. Names of
parameters and buffers stay, so checkpoints, exports and predictions are those of a network with plain BatchNorm.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> int:
    """Let every BatchNorm inside ``model`` share its statistics over the ranks; all ranks must call it alike.

    Modules are replaced in place and keep their parameters, buffers and mode, so an optimizer of ``model`` stays valid.

    Args:
        model: On ``device``.
        device: Of this rank.

    Returns:
        How many share now; those that did before are counted too.
    """
    kind = nn.SyncBatchNorm if device.type == "cuda" else _OnCpu
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _PLAIN):
                child = _taking_over(child, kind)
                setattr(parent, name, child)
            count += isinstance(child, kind)
    return count


class _OnCpu(_BatchNorm):
    """The same for CPUs: statistics of all ranks while training, the running ones in evaluation."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        if input.dim() < 2:
            raise ValueError(f"expected an input of 2 dimensions or more (got {input.dim()})")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if not self.training or dist.get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        output, mean, variance, count = _Normalize.apply(input, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._follow(mean, variance * (count / (count - 1)))
        normalized: Tensor = output
        return normalized

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of the batch, of which ``variance`` is the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _Normalize(torch.autograd.Function):
    """Normalization by the mean and variance of all ranks' samples (Ioffe and Szegedy, 2015, algorithm 1).

    Statistics are in float32 at least, whatever the precision of the batch. A rank's samples may be none.
    """

    @staticmethod
    def forward(
        ctx: Any, batch: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = _statistics(_precise(batch))
        ctx.mark_non_differentiable(mean, variance, count)
        ctx.save_for_backward(batch, weight, mean, torch.rsqrt(variance + eps), count)
        return functional.batch_norm(batch, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        batch, weight, mean, scale, count = ctx.saved_tensors
        axes, shape = _axes(batch), _over_channels(batch)
        precise = _precise(gradient)
        normalized = (_precise(batch) - mean.view(shape)) * scale.view(shape)
        sums = torch.stack((precise.sum(axes), (precise * normalized).sum(axes)))
        # Of weight and bias the gradient is this rank's part: DistributedDataParallel sums those itself.
        bias_gradient, weight_gradient = sums.clone()
        if not ctx.needs_input_grad[0]:
            return None, _if_needed(ctx, 1, weight_gradient), _if_needed(ctx, 2, bias_gradient), None
        dist.all_reduce(sums)
        of_mean, of_scale = (sums / count).to(precise.dtype)
        factor = scale if weight is None else scale * weight
        batch_gradient = precise - of_mean.view(shape) - normalized * of_scale.view(shape)
        batch_gradient = (batch_gradient * factor.view(shape)).to(batch.dtype)
        return batch_gradient, _if_needed(ctx, 1, weight_gradient), _if_needed(ctx, 2, bias_gradient), None


def _if_needed(ctx: Any, position: int, gradient: Tensor) -> Tensor | None:
    return gradient if ctx.needs_input_grad[position] else None


def _precise(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _axes(batch: Tensor) -> list[int]:
    """All but the channels'."""
    return [0, *range(2, batch.dim())]


def _over_channels(batch: Tensor) -> list[int]:
    return [1, -1, *([1] * (batch.dim() - 2))]


def _statistics(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance [C] of each channel over all ranks, and how many values make them up, a scalar.

    Means and variances are put together (Chan, Golub and LeVeque, 1979); sums of squares would lose digits where the
    mean is large. In float64, in the order of the ranks: the same bits everywhere.
    """
    channels = batch.shape[1]
    own = batch.new_zeros(3, channels, dtype=torch.float64)
    if batch.numel():
        own[1], own[0] = torch.var_mean(batch, _axes(batch), correction=0)
        own[2] = batch.numel() // channels
    rows = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, own)
    means, variances, counts = torch.stack(rows, dim=1)
    count = counts[:, 0].sum()
    if count <= 1:
        raise ValueError(f"BatchNorm needs more than one value a channel over all ranks (got {int(count)})")
    mean = (counts * means).sum(0) / count
    variance = (counts * (variances + (means - mean).square())).sum(0) / count
    return mean.to(batch.dtype), variance.to(batch.dtype), count


def _taking_over(plain: _BatchNorm, kind: type[_BatchNorm]) -> _BatchNorm:
    """A module of another kind with the same settings, and the very parameters and buffers."""
    new = kind(plain.num_features, plain.eps, plain.momentum, affine=False, track_running_stats=False)
    new.affine, new.track_running_stats = plain.affine, plain.track_running_stats
    new.weight, new.bias = plain.weight, plain.bias
    new.running_mean, new.running_var = plain.running_mean, plain.running_var
    new.num_batches_tracked = plain.num_batches_tracked
    return new.train(plain.training)
