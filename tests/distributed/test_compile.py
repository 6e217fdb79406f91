"""torch.compile changes how a step is computed, not what, and nothing of what is kept."""

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.rank_processes import on_ranks
from tests.trainer_runs import assert_same_results, kill_a_rank, last_checkpoint, tiny, train_disturbed, train_to_end
from tests.training_steps import CONVNET, UNEVEN, Steps, config_of, largest_relative_difference, train_steps
from trainer.engine.parallel import ParallelNetwork, check_parallel
from trainer.exits import ConfigError
from trainer.predict import load_trained
from trainer.runtime.compiler import prepare_compiler
from trainer.runtime.distributed import Ranks

# Dropout, and micro-batches of two sizes.
DROPPING = {**UNEVEN, "model": {**CONVNET, "dropout": 0.2}, "optimizer": {"name": "sgd", "lr": 0.03}, "accumulate": 2}
TOLERANCE = 1e-4
"""Of a loss over 40 steps in fp32, relative; what compiled code sums in another order."""

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="train.compile is not tested: it needs g++ and Python's headers",
)


def _compiled_steps(train: dict[str, Any], ranks: Ranks, steps: int) -> Steps:
    check_parallel(config_of(train), ranks)
    return train_steps(train, ranks, steps=steps)


def _difference(train: dict[str, Any], *, ranks: int, steps: int) -> float:
    eager = on_ranks(ranks, lambda place: train_steps(train, place, steps=steps))[0]
    compiled = on_ranks(ranks, lambda place: _compiled_steps({**train, "compile": True}, place, steps))[0]
    assert eager.losses[-1] < eager.losses[0], "a run that does not learn proves nothing"
    assert (eager.graphs, compiled.graphs > 0) == (0, True), "nothing was compiled, so nothing is compared"
    assert list(compiled.network) == list(eager.network), "names of what is saved stay"
    difference = largest_relative_difference(compiled.losses, eager.losses)
    print(f"compiled, {ranks} ranks, {steps} steps: losses differ by {difference:.1e} of themselves")
    return difference


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("ranks", [1, 2])
def test_forty_steps_of_a_compiled_network_have_the_losses_of_the_plain_one(ranks: int) -> None:
    assert _difference(DROPPING, ranks=ranks, steps=40) <= TOLERANCE


@pytest.mark.slow
@needs_compiler
def test_frozen_layers_of_a_compiled_network_stay_and_are_unfrozen_in_time() -> None:
    train = tiny(
        epochs=2,
        batch_size=64,
        data={"kind": "digits", "image_size": 32, "samples_per_class": 20},
        model={"name": "resnet18", "freeze": "layer3", "unfreeze": [{"epoch": 2, "freeze": "layer2"}]},
        optimizer={"name": "sgd", "lr": 0.001},
    )
    eager = on_ranks(1, lambda ranks: train_steps(train, ranks, steps=5))[0]
    compiled = on_ranks(1, lambda ranks: _compiled_steps({**train, "compile": True}, ranks, 5))[0]
    assert compiled.graphs == 2, "one for each stage"
    assert largest_relative_difference(compiled.losses, eager.losses) <= TOLERANCE
    assert set(compiled.gradient) == set(eager.gradient)
    for name in ("bn1.running_mean", "layer2.0.conv1.weight"):
        assert torch.equal(compiled.network[name], eager.network[name]), f"{name} is frozen"
    ours, theirs = (steps.network["layer3.0.conv1.weight"].double() for steps in (compiled, eager))
    difference = float((ours - theirs).norm() / theirs.norm())
    print(f"unfrozen layer: weights differ by {difference:.1e} of their norm")
    assert difference <= TOLERANCE


def test_a_network_that_cannot_be_compiled_is_said_to_run_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    unseen: Any = torch.compiler.disable(torch.sin)  # type: ignore[no-untyped-call]

    class Opaque(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            for _ in range(2):  # a loop that Dynamo cannot see through makes it give up on all around it
                batch = unseen(batch)
            return batch

    config = config_of({**UNEVEN, "compile": True})
    network = ParallelNetwork(config, Opaque(), Ranks(0, 1, 0, 1, torch.device("cpu"), None))
    network.module(torch.ones(2))
    network.warn_if_uncompiled()
    assert "torch.compile could make no graph of this network" in caplog.text


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_that_is_killed_resumes_byte_equal_and_leaves_a_plain_network(tmp_path: Path) -> None:
    train = {**DROPPING, "compile": True, "checkpoint": {"every_steps": 3}}
    undisturbed = train_to_end(tmp_path / "undisturbed", train)
    history = train_disturbed(tmp_path / "killed", train, 14, kill_a_rank)
    assert [attempt["resumed_from"] is None for attempt in history] == [True, False]
    assert_same_results(tmp_path / "killed", undisturbed)
    logs = [path.read_text() for path in tmp_path.rglob("rank-*.log")]
    assert len(logs) == 6
    assert not [text for text in logs if "could make no graph" in text]
    names = load_file(last_checkpoint(undisturbed) / "model.safetensors")
    assert not [name for name in names if "_orig_mod" in name or name.startswith("module.")]
    assert (undisturbed / "exports" / "model.pt2").exists()
    assert load_trained(undisturbed)


def test_a_machine_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for device in ("cpu", "cuda"):
        with pytest.raises(ConfigError, match=r"(?s)needs a C.* compiler .*apt-get install g\+\+.*compile: false"):
            prepare_compiler(torch.device(device), deterministic=False)


def test_a_python_without_headers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": "/nowhere"})
    with pytest.raises(ConfigError, match=r"Python's headers \(/nowhere/Python.h\)"):
        prepare_compiler(torch.device("cpu"), deterministic=False)
