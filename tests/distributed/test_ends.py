"""How runs end: each failure with its code and its cause on record."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.trainer_runs import RESULT_FILES, attempts, metrics, running, start, tiny, train_to_end


def test_a_finished_run_leaves_every_file_of_the_contract(tmp_path: Path) -> None:
    folder = train_to_end(tmp_path, tiny())
    for name in RESULT_FILES:
        assert (folder / name).stat().st_size >= 0, name
    assert list((folder / "tensorboard").glob("events.*"))
    assert attempts(folder)[0]["end"]["code"] == 0


def test_in_a_cluster_what_each_rank_prints_is_in_the_log_of_its_pod(tmp_path: Path) -> None:
    run = start(tmp_path, tiny(epochs=1), namespace="training")
    assert run.wait() == 0, run.output()
    pod_log = (tmp_path / "logs" / "supervisor.log").read_text().splitlines()
    for rank in (0, 1):
        own = (tmp_path / f"logs/attempt-1/rank-{rank}.log").read_text().splitlines()
        assert own == [line.removeprefix(f"[rank {rank}] ") for line in pod_log if line.startswith(f"[rank {rank}] ")]
    assert any(line.startswith("@progress ") for line in pod_log)


@pytest.mark.slow
def test_in_a_cluster_starts_that_vanished_without_a_checkpoint_are_counted_and_end_the_job(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir(parents=True)
    for number in range(1, 5):
        lost = {"attempt": number, "resumed_from": None, "end": None}
        (tmp_path / f"attempts/{number:04d}.json").write_text(json.dumps(lost))
    train = tiny(epochs=1)
    ended = start(tmp_path, train, namespace="training")
    assert ended.wait() == 7, ended.output()
    assert "4 starts in a row ended without a new checkpoint" in attempts(tmp_path)[-1]["end"]["cause"]
    again = start(tmp_path, train, namespace="training")
    assert again.wait() == 0, "a final end closes the account: who submits again starts anew"


def test_a_finished_run_started_again_ends_at_once(tmp_path: Path) -> None:
    train_to_end(tmp_path, tiny(epochs=1))
    before = (tmp_path / "summary.json").stat().st_mtime_ns
    train_to_end(tmp_path, tiny(epochs=1))
    assert (tmp_path / "summary.json").stat().st_mtime_ns == before
    assert len(attempts(tmp_path)) == 1


@pytest.mark.slow
def test_more_epochs_continue_a_finished_run(tmp_path: Path) -> None:
    train_to_end(tmp_path, tiny(epochs=1))
    train_to_end(tmp_path, tiny(epochs=2))
    assert attempts(tmp_path)[1]["resumed_from"] == "step-00000022"
    assert [line["epoch"] for line in metrics(tmp_path) if line["kind"] == "epoch"] == [1, 2]


@pytest.mark.slow
def test_a_folder_of_another_job_is_refused(tmp_path: Path) -> None:
    train_to_end(tmp_path, tiny(epochs=1))
    with running(tmp_path, tiny(epochs=1, seed=1)) as run:
        assert run.wait() == 2
    assert "another configuration" in run.output()


@pytest.mark.parametrize(
    ("train", "code", "words"),
    [
        (tiny(data={"kind": "idx", "path": "/nonexistent"}), 3, "/nonexistent"),
        pytest.param(tiny(batch_size=4000), 3, "larger than the 1437 training samples", marks=pytest.mark.slow),
        (tiny(optimizer={"name": "sgd", "lr": 1e30}), 4, "not finite"),
        pytest.param(tiny(precision="fp16"), 2, "fp16 needs a GPU", marks=pytest.mark.slow),
    ],
    ids=["missing data", "batch too large", "divergence", "fp16 on a CPU"],
)
def test_a_final_failure_is_not_retried_and_its_cause_is_on_record(
    tmp_path: Path, train: dict[str, object], code: int, words: str
) -> None:
    with running(tmp_path, train) as run:
        assert run.wait() == code, run.output()
    [attempt] = attempts(tmp_path)
    assert attempt["end"]["code"] == code
    assert words in attempt["end"]["cause"]
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.slow
def test_restarts_without_progress_are_bounded(tmp_path: Path) -> None:
    train = tiny(
        epochs=500, checkpoint={"every_epochs": 500}, restarts={"max_without_progress": 1, "backoff_seconds": 0}
    )
    with running(tmp_path, train) as run:
        for attempt in (1, 2):
            run.wait_until(lambda n=attempt: len(attempts(tmp_path)) == n and len(run.ranks()) == 2)  # type: ignore[misc]
            import psutil

            psutil.Process(run.ranks()[0]).send_signal(signal.SIGKILL)
        assert run.wait() == 7, run.output()
    last = attempts(tmp_path)[-1]["end"]
    assert last["code"] == 7
    assert "1 restarts without a new checkpoint" in last["cause"]
    assert "SIGKILL" in last["cause"]


@pytest.mark.slow
def test_the_deadline_ends_a_run(tmp_path: Path) -> None:
    with running(tmp_path, tiny(epochs=100_000, restarts={"deadline_seconds": 8.0})) as run:
        begun = time.monotonic()
        assert run.wait() == 7, run.output()
        assert time.monotonic() - begun < 30
    assert "deadline" in attempts(tmp_path)[0]["end"]["cause"]
