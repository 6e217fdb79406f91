"""The network as a training step calls it: shared between ranks or devices, and compiled where that is asked for."""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn.parallel import DataParallel, DistributedDataParallel

from trainer.config.train import TrainConfig
from trainer.exits import ConfigError
from trainer.models.sync_batch_norm import synchronize_batch_norm
from trainer.runtime.compiler import prepare_compiler
from trainer.runtime.determinism import derive_seed
from trainer.runtime.distributed import Ranks
from trainer.runtime.precision import autocast

log = logging.getLogger(__name__)


def check_parallel(config: TrainConfig, ranks: Ranks) -> None:
    """See, before anything slow begins, that the run can be shared between devices and compiled as it says.

    Raises:
        ConfigError: There are several ranks where one process is asked for, or something to compile with is missing.
    """
    if config.parallel.strategy == "data-parallel" and ranks.world_size > 1:
        raise ConfigError(
            f"train.parallel.strategy: data-parallel is one process for all GPUs of one node, and this run has "
            f"{ranks.world_size} ranks\nstart one (--nproc 1), or use strategy ddp"
        )
    if config.parallel.strategy == "data-parallel" and len(_own_devices(config, ranks)) < 2:
        log.warning("train.parallel.strategy: data-parallel has one device (%s), so it changes nothing", ranks.device)
    if config.compile:
        prepare_compiler(ranks.device, deterministic=config.deterministic)


class ParallelNetwork:
    """A network, wrapped for the devices of its run; the network itself stays what is saved, evaluated and exported.

    Make a new one when other parameters become trainable: DistributedDataParallel exchanges those that it first saw.
    """

    def __init__(self, config: TrainConfig, model: nn.Module, ranks: Ranks) -> None:
        self._config = config
        self._device = ranks.device
        if config.parallel.sync_batch_norm and ranks.world_size > 1:
            shared = synchronize_batch_norm(model, ranks.device)
            log.info("%d BatchNorm layers share their statistics over the ranks", shared)
        network = _compiled(model) if config.compile else model
        self._ddp = _distributed(network, ranks) if ranks.world_size > 1 else None
        self._devices = _own_devices(config, ranks)
        self._graphs_before = counters["stats"]["unique_graphs"]
        self._rank = ranks.rank
        self.module: nn.Module = self._ddp or network
        """What the loss is computed with."""
        if len(self._devices) > 1:
            self.module = DataParallel(_Autocast(config, model, ranks.device), self._devices)
            log.info("one process trains on %d devices", len(self._devices))

    @property
    def is_distributed(self) -> bool:
        """Whether gradients are exchanged with other ranks."""
        return self._ddp is not None

    def exchange(self, *, now: bool) -> AbstractContextManager[Any]:
        """Where a backward pass runs: its gradients are added up here and exchanged with those of the last pass."""
        return nullcontext() if now or self._ddp is None else self._ddp.no_sync()

    def warn_if_uncompiled(self) -> None:
        """Say, after the first step, that compilation came to nothing: Dynamo gives up on some networks in silence."""
        if self._config.compile and counters["stats"]["unique_graphs"] == self._graphs_before:
            log.warning("train.compile: torch.compile could make no graph of this network, which runs as it is")

    def seed(self, seed: int, step: int) -> None:
        """Seed dropout and its like for a step: another stream on each rank, and on each device of DataParallel."""
        torch.manual_seed(derive_seed("step", seed, step, self._rank))
        for index in self._devices[1:]:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(derive_seed("step", seed, step, index))


def _distributed(model: nn.Module, ranks: Ranks) -> DistributedDataParallel:
    return DistributedDataParallel(
        model,
        device_ids=[ranks.device.index] if ranks.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )


def _own_devices(config: TrainConfig, ranks: Ranks) -> list[int]:
    """Numbers of the GPUs that this process alone computes on, where it may use several."""
    if config.parallel.strategy == "ddp" or ranks.device.type != "cuda":
        return []
    return list(range(torch.cuda.device_count()))


class _Autocast(nn.Module):
    """Runs a network in the configured precision: a replica's thread of DataParallel knows only whether, not which."""

    def __init__(self, config: TrainConfig, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self._config = config
        self._device = device

    def forward(self, *inputs: Tensor) -> Tensor:
        with autocast(self._config, self._device):
            output: Tensor = self.network(*inputs)
        return output


def _compiled(network: nn.Module) -> nn.Module:
    """The network behind torch.compile, which goes inside DistributedDataParallel.

    Around it, Dynamo stumbles over DistributedDataParallel's own Python and leaves the network uncompiled, in silence.
    Inside, torch's DDPOptimizer still cuts the graph at the buckets: gradients travel while others are computed.

    One graph a size of micro-batch, of which there are two at most. A graph for any size would be used from the second
    size on, and a resumed run, which starts without it, would round differently.
    """
    torch.compiler.reset()  # graphs of a network that trained before, or with other layers frozen, only take up places
    compiled: nn.Module = torch.compile(network, dynamic=False)  # type: ignore[assignment]
    return compiled
