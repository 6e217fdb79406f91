"""Whatever is killed, the run ends byte-equal to one that nobody disturbed."""

import os
import random
from pathlib import Path

import pytest

from tests.trainer_runs import (
    TrainerProcess,
    assert_same_results,
    kill_a_rank,
    kill_supervisor,
    last_checkpoint,
    metrics,
    running,
    tiny,
    train_disturbed,
    train_to_end,
)

TRAIN = tiny(
    epochs=4,
    batch_size=48,
    model={"name": "convnet", "blocks": [[8], [16]], "dropout": 0.2},
    data={"kind": "digits", "augment": {"pad_crop": 1}},
    optimizer={"name": "adamw", "lr": 0.003},
    schedule={"name": "one-cycle"},
    checkpoint={"every_steps": 7},
    logging={"every_steps": 3},  # not a divisor of where it is killed: sums in the middle of a window must survive
)
STEPS = 4 * (1437 // 48)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = train_to_end(tmp_path_factory.mktemp("undisturbed"), TRAIN)
    assert last_checkpoint(folder).name == f"step-{STEPS:08d}"
    return folder


def _random_steps(seed: int, count: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(4, STEPS - 12), count))


def _terminate(run: TrainerProcess) -> None:
    run.process.terminate()
    assert run.wait() == 143, run.output()


DISTURBANCES = {
    "SIGTERM of the job": _terminate,
    "SIGKILL of a rank": kill_a_rank,
    "SIGKILL of the supervisor": kill_supervisor,
}
SEED = int(os.environ.get("KILL_SEED", "20261124"))


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbed_run_ends_byte_equal(name: str, tmp_path: Path, undisturbed: Path) -> None:
    [step] = _random_steps(SEED, 1)
    history = train_disturbed(tmp_path, TRAIN, step, DISTURBANCES[name])
    assert_same_results(tmp_path, undisturbed)
    assert len(history) == 2
    assert history[1]["resumed_from"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTURBANCES)
def test_five_random_kills_of_each_kind_end_byte_equal(name: str, tmp_path: Path, undisturbed: Path) -> None:
    for step in _random_steps(SEED + len(name), 5):
        folder = tmp_path / f"step-{step}"
        history = train_disturbed(folder, TRAIN, step, DISTURBANCES[name])
        assert_same_results(folder, undisturbed)
        print(f"{name} at step {step} of {STEPS}: resumed from {history[1]['resumed_from']}, byte-equal")


@pytest.mark.slow
def test_three_ranks_sum_gradients_in_the_same_order_before_and_after_a_resume(tmp_path: Path) -> None:
    # With two ranks any order of summing gives the same bits; three are the first to tell.
    undisturbed = train_to_end(tmp_path / "undisturbed", TRAIN, ranks=3)
    train_disturbed(tmp_path / "disturbed", TRAIN, 40, _terminate, ranks=3)
    assert_same_results(tmp_path / "disturbed", undisturbed)


@pytest.mark.slow
def test_resume_with_another_number_of_ranks_repeats_and_skips_no_sample(tmp_path: Path) -> None:
    train = tiny(epochs=3, batch_size=143, checkpoint={"every_steps": 4})
    straight = train_to_end(tmp_path / "straight", train, ranks=1)
    with running(tmp_path / "changed", train, ranks=2) as run:
        run.wait_until(lambda: run.steps_done() >= 12)
        _terminate(run)
    train_to_end(tmp_path / "changed", train, ranks=3)
    ours, theirs = metrics(tmp_path / "changed"), metrics(straight)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, theirs, strict=True)) < 1e-4
