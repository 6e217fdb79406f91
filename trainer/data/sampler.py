"""Which samples make up which step: functions of (seed, epoch, position), the same at any number of ranks."""

import torch
from torch import Tensor

from trainer.runtime.determinism import derive_seed


def epoch_order(*, seed: int, epoch: int, samples: int) -> Tensor:
    """The permutation of ``samples`` positions for one epoch; int64 [samples]."""
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    return torch.randperm(samples, generator=generator)


def steps_per_epoch(*, samples: int, batch_size: int) -> int:
    """Full global batches in an epoch. The samples left over are dropped; they differ from epoch to epoch."""
    return samples // batch_size


def global_batch(order: Tensor, *, step: int, batch_size: int) -> Tensor:
    """Positions of step ``step`` of the epoch, over all ranks; int64 [batch_size]."""
    return order[step * batch_size : (step + 1) * batch_size]


def micro_batches(order: Tensor, *, step: int, batch_size: int, rank: int, world_size: int, parts: int) -> list[Tensor]:
    """This rank's share of global batch ``step`` of the epoch, in ``parts`` micro-batches.

    Shares differ by one sample at most and cover the batch exactly; each is int64 positions, never empty as long as
    ``batch_size >= world_size * parts``.
    """
    share = torch.tensor_split(global_batch(order, step=step, batch_size=batch_size), world_size)[rank]
    return list(torch.tensor_split(share, parts))


def evaluation_shard(*, samples: int, rank: int, world_size: int) -> Tensor:
    """Positions that ``rank`` evaluates; over all ranks each position occurs exactly once (no padding)."""
    return torch.arange(samples)[rank::world_size]
