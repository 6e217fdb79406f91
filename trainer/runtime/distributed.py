"""The ranks of one run and what they say to each other."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import TCPStore  # torch.distributed has it too, without a type

from trainer.exits import ConfigError, InfrastructureError
from trainer.runtime.lost_peer import says_peer_lost


@dataclass(frozen=True)
class Ranks:
    """This process's place among all ranks, and its device.

    Small agreements go through ``control``, a gloo group, so that they never wait for a GPU.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    device: torch.device
    control: dist.ProcessGroup | None

    @property
    def is_first(self) -> bool:
        """Whether this rank writes what only one may write."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of ``tensor`` over all ranks, in place; exact for integers."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree_any(self, flag: bool) -> bool:
        """Whether any rank says yes."""
        if self.world_size == 1:
            return flag
        votes = torch.tensor([int(flag)])
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self.control)
        return bool(votes.item())

    def from_first(self, value: int) -> int:
        """Rank 0's ``value``."""
        if self.world_size == 1:
            return value
        box = torch.tensor([value])
        dist.broadcast(box, 0, group=self.control)
        return int(box.item())

    def gather(self, values: list[float]) -> list[list[float]]:
        """Each rank's ``values`` (equally many on all), in rank order, exactly."""
        if self.world_size == 1:
            return [values]
        mine = torch.tensor(values, dtype=torch.float64)
        rows = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(rows, mine, group=self.control)
        return [row.tolist() for row in rows]

    def gather_rows(self, rows: Tensor) -> list[Tensor]:
        """Each rank's CPU ``rows`` [n_r, k], with n_r differing between ranks."""
        if self.world_size == 1:
            return [rows]
        padded, counts = self._padded(rows)
        received = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(received, padded, group=self.control)
        return [row[:count] for row, count in zip(received, counts, strict=True)]

    def gather_rows_at_first(self, rows: Tensor) -> list[Tensor] | None:
        """The same on rank 0 alone, for rows that are too many for every rank's memory; None on the others."""
        if self.world_size == 1:
            return [rows]
        padded, counts = self._padded(rows)
        received = [torch.empty_like(padded) for _ in counts] if self.is_first else None
        dist.gather(padded, received, dst=0, group=self.control)
        return received and [row[:count] for row, count in zip(received, counts, strict=True)]

    def _padded(self, rows: Tensor) -> tuple[Tensor, list[int]]:
        """``rows`` made as long as the longest of all ranks, and how many each rank has."""
        counts = [int(count) for (count,) in self.gather([float(len(rows))])]
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        return padded, counts

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.agree_any(False)


class DelayedAgreement:
    """Asks every step whether any rank wants to stop, and gives the answer of the step before.

    The question travels while the step computes, so it costs no waiting; all ranks hear the same answer at the same
    step, one step late.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._votes = torch.zeros(1, dtype=torch.int64)
        self._pending: dist.Work | None = None

    def ask(self, flag: bool) -> bool:
        """Put this step's ``flag`` forward; True when some rank's flag of the step before was set."""
        if self._ranks.world_size == 1:
            return flag
        answer = False
        if self._pending is not None:
            self._pending.wait()
            answer = bool(self._votes.item())
        self._votes = torch.tensor([int(flag)])
        self._pending = dist.all_reduce(self._votes, dist.ReduceOp.MAX, group=self._ranks.control, async_op=True)
        return answer


def choose_device(wanted: str, *, local_rank: int, local_world_size: int) -> torch.device:
    """The device of a rank: its own GPU where there are GPUs, else the CPU."""
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cuda" and devices == 0:
        raise ConfigError("train.device: cuda, but torch finds no CUDA device (allowed here: auto, cpu)")
    if wanted == "cpu" or devices == 0:
        return torch.device("cpu")
    if devices < local_world_size:
        raise ConfigError(f"{local_world_size} ranks on this machine, but torch finds {devices} CUDA devices")
    return torch.device("cuda", local_rank)


@contextmanager
def joined(wanted_device: str, *, listener: socket.socket | None, timeout: timedelta) -> Iterator[Ranks]:
    """Join the group that the environment describes (RANK, WORLD_SIZE, ... as torchrun sets them); leave it at the end.

    ``listener`` is the socket that the supervisor bound for this generation's store: each generation has a store of its
    own, since ranks that meet in a dead generation's store read dead addresses.
    """
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank, local_world_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    device = choose_device(wanted_device, local_rank=local_rank, local_world_size=local_world_size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if listener and rank > 0:
        listener.close()
    if world_size == 1:
        yield Ranks(rank, world_size, local_rank, local_world_size, device, None)
        return
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world_size,
        is_master=rank == 0,
        timeout=timeout,
        master_listen_fd=listener.detach() if listener and rank == 0 else None,
    )
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=world_size, timeout=timeout
    )
    control: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timeout)  # type: ignore[assignment]
    yield Ranks(rank, world_size, local_rank, local_world_size, device, control)
    # Only after success: destroying a group whose peers are gone may hang, and the process is about to end anyway.
    dist.destroy_process_group()


def as_infrastructure_error(error: BaseException) -> InfrastructureError | None:
    """The error as one of the infrastructure where its type or text says that a peer was lost; None otherwise."""
    if isinstance(error, dist.DistNetworkError | dist.DistStoreError | dist.DistBackendError):
        return InfrastructureError(f"{type(error).__name__}: {error}")
    if isinstance(error, RuntimeError) and says_peer_lost(str(error)):
        return InfrastructureError(str(error))
    return None
