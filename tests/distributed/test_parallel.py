"""Ways to share a step between devices change what is computed by no more than they say."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from tests.rank_processes import on_ranks
from tests.trainer_runs import assert_same_results, kill_a_rank, last_checkpoint, train_disturbed, train_to_end
from tests.training_steps import CONVNET, UNEVEN, Steps, config_of, largest_relative_difference, train_steps
from trainer.engine.parallel import check_parallel
from trainer.engine.step import TrainStep
from trainer.exits import ConfigError
from trainer.predict import load_trained
from trainer.runtime.distributed import Ranks

# Without the kinks of ReLU: where a sum that rounds otherwise crosses one, two runs part, on any number of ranks.
SMOOTH = {**UNEVEN, "model": {**CONVNET, "activation": "gelu"}, "optimizer": {"name": "sgd", "lr": 0.03}}
WITHOUT_BATCH_NORM = {**UNEVEN, "model": {**CONVNET, "batch_norm": False}}


def _steps(train: dict[str, Any], world_size: int, steps: int) -> Steps:
    shares = on_ranks(world_size, lambda ranks: train_steps(train, ranks, steps=steps))
    first: Steps = shares[0]
    assert all(share.losses == first.losses for share in shares)
    return first


def _statistics_differ_by(ours: Steps, theirs: Steps) -> float:
    names = [name for name in theirs.network if name.endswith(("running_mean", "running_var"))]
    assert names
    scale = max(theirs.network[name].abs().max().item() for name in names)
    return max((ours.network[name] - theirs.network[name]).abs().max().item() for name in names) / scale


def test_with_sync_batch_norm_two_ranks_learn_what_one_does_and_without_it_they_do_not() -> None:
    together = {**SMOOTH, "parallel": {"sync_batch_norm": True}}
    alone = _steps(together, 1, 40)
    assert alone.losses[-1] < 0.5 * alone.losses[0], "a run that does not learn proves nothing"
    shared, apart = _steps(together, 2, 40), _steps(SMOOTH, 2, 40)
    losses = largest_relative_difference(shared.losses, alone.losses)
    statistics = _statistics_differ_by(shared, alone)
    print(f"sync_batch_norm, 40 steps: losses differ by {losses:.1e} of themselves, statistics by {statistics:.1e}")
    assert losses <= 1e-5
    assert statistics <= 1e-6
    without = largest_relative_difference(apart.losses, alone.losses)
    print(f"without: losses by {without:.1e}, statistics by {_statistics_differ_by(apart, alone):.1e}")
    assert without > 1e-3
    assert _statistics_differ_by(apart, alone) > 1e-3


@pytest.mark.slow
def test_a_run_with_sync_batch_norm_that_is_killed_resumes_byte_equal_and_leaves_a_plain_network(
    tmp_path: Path,
) -> None:
    train = {**SMOOTH, "parallel": {"sync_batch_norm": True}, "checkpoint": {"every_steps": 3}}
    undisturbed = train_to_end(tmp_path / "undisturbed", train)
    history = train_disturbed(tmp_path / "killed", train, 14, kill_a_rank)
    assert [attempt["resumed_from"] is None for attempt in history] == [True, False]
    assert_same_results(tmp_path / "killed", undisturbed)
    log = (undisturbed / "logs" / "attempt-1" / "rank-0.log").read_text()
    assert "2 BatchNorm layers share their statistics over the ranks" in log
    plain = train_to_end(tmp_path / "plain", {**SMOOTH, "epochs": 1})
    ours, theirs = (load_file(last_checkpoint(folder) / "model.safetensors") for folder in (undisturbed, plain))
    assert set(ours) == set(theirs)
    assert load_trained(undisturbed)


def test_accumulation_exchanges_gradients_once_a_step_and_gives_those_of_the_whole_batch() -> None:
    steps = 3

    def counted(ranks: Ranks, accumulate: int) -> tuple[Steps, int]:
        exchanges = []

        def count(step: TrainStep) -> None:
            network = step.network.module
            assert isinstance(network, DistributedDataParallel)

            def hook(group: Any, bucket: GradBucket) -> Future[Tensor]:
                exchanges.append(bucket.index())
                return allreduce_hook(group, bucket)

            network.register_comm_hook(None, hook)

        done = train_steps({**WITHOUT_BATCH_NORM, "accumulate": accumulate}, ranks, steps=steps, watch=count)
        return done, len(exchanges)

    # 72 and 71 samples in five micro-batches of 15 and 14.
    [(parts, of_parts), _] = on_ranks(2, lambda ranks: counted(ranks, 5))
    [(whole, of_whole), _] = on_ranks(2, lambda ranks: counted(ranks, 1))
    assert of_parts == of_whole == steps + 1, "one bucket a step, and that of the pass that settles the buckets"
    mine, other = (torch.cat([part.double().flatten() for part in s.gradient.values()]) for s in (parts, whole))
    difference = float((mine - other).norm() / other.norm())
    print(f"accumulation of 5: gradient of step {steps} differs by {difference:.1e} of its norm")
    assert difference <= 1e-6


def test_data_parallel_on_a_cpu_is_the_network_itself() -> None:
    train = {**UNEVEN, "parallel": {"strategy": "data-parallel"}}
    wrapped, plain = _steps(train, 1, 5), _steps(UNEVEN, 1, 5)
    assert wrapped.losses == plain.losses
    assert all(torch.equal(wrapped.network[name], tensor) for name, tensor in plain.network.items())


def test_data_parallel_says_that_one_device_is_nothing_to_share(caplog: pytest.LogCaptureFixture) -> None:
    config = config_of({**UNEVEN, "parallel": {"strategy": "data-parallel"}})
    check_parallel(config, Ranks(0, 1, 0, 1, torch.device("cpu"), None))
    assert "data-parallel has one device (cpu), so it changes nothing" in caplog.text


def test_data_parallel_is_one_process() -> None:
    config = config_of({**UNEVEN, "parallel": {"strategy": "data-parallel"}})

    def check(ranks: Ranks) -> str:
        with pytest.raises(ConfigError, match=r"one process for all GPUs of one node, and this run has 2 ranks"):
            check_parallel(config, ranks)
        return "refused"

    assert on_ranks(2, check) == ["refused", "refused"]


two_gpus = pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="data-parallel and NCCL are not tested: this machine has no two GPUs"
)


def _steps_on_gpus(train: dict[str, Any], world_size: int, steps: int) -> Steps:
    shares = on_ranks(world_size, lambda ranks: train_steps(train, ranks, steps=steps), device="cuda")
    first: Steps = shares[0]
    return first


@two_gpus
def test_data_parallel_on_two_gpus_learns_what_one_gpu_does() -> None:
    smooth = {**SMOOTH, "model": {**CONVNET, "activation": "gelu", "batch_norm": False}}
    alone = _steps_on_gpus(smooth, 1, 40)
    assert alone.losses[-1] < alone.losses[0], "a run that does not learn proves nothing"
    together = _steps_on_gpus({**smooth, "parallel": {"strategy": "data-parallel"}}, 1, 40)
    assert list(together.network) == list(alone.network), "names of what is saved stay"
    difference = largest_relative_difference(together.losses, alone.losses)
    print(f"data-parallel, 40 steps: losses differ by {difference:.1e} of themselves")
    assert 0 < difference <= 1e-5, "0 would mean that one GPU did it all"


@two_gpus
def test_with_sync_batch_norm_two_gpus_learn_what_one_does() -> None:
    train = {**SMOOTH, "parallel": {"sync_batch_norm": True}}
    alone, shared = _steps_on_gpus(train, 1, 40), _steps_on_gpus(train, 2, 40)
    assert largest_relative_difference(shared.losses, alone.losses) <= 1e-5
    assert _statistics_differ_by(shared, alone) <= 1e-6
