"""The local backend with the real trainer: tiny jobs on two CPU ranks."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.backends.base import JobStatus, LogLine, State, Submission
from launcher.backends.local.backend import LocalBackend
from launcher.errors import InvalidJob, JobNotFound
from launcher.job.placement import Placement
from launcher.job.spec import JobSpec
from tests.trainer_runs import metrics, tiny

ENDLESS = 5000
WAIT_SECONDS = 90.0


def spec_of(*, name: str = "tiny", epochs: int = 1, ranks: int = 2, **train: Any) -> JobSpec:
    """A feed-forward job on the digits that takes a second or two."""
    job = {"name": name, "gpus": ranks, "train": tiny(epochs=epochs, **train)}
    return JobSpec.model_validate_json(json.dumps(job))


def submit(backend: LocalBackend, *, fresh: bool = False, **changes: Any) -> Submission:
    spec = spec_of(**changes)
    return backend.submit(spec, Placement(nodes=1, ranks_per_node=spec.ranks), fresh=fresh)


def wait_for(backend: LocalBackend, condition: Callable[[JobStatus], bool]) -> JobStatus:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition(status := backend.get("tiny")):
        assert not status.state.is_over, status
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def wait(backend: LocalBackend) -> JobStatus:
    return list(backend.watch("tiny"))[-1]


def training(status: JobStatus) -> bool:
    """Whether the job takes steps."""
    return status.progress is not None and status.progress.step >= 1


def steps(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that tell of a step."""
    return [line for line in metrics(folder) if line["kind"] == "step"]


def family(folder: Path) -> list[psutil.Process]:
    """The supervisor of the job in ``folder`` and everything below it."""
    record = json.loads((folder / "job.json").read_text())
    leader = psutil.Process(record["pid"])
    return [leader, *leader.children(recursive=True)]


def survivors(processes: list[psutil.Process], *, seconds: float = 0.0) -> list[psutil.Process]:
    """Those that still run, given some time to go."""
    deadline = time.monotonic() + seconds
    while running := [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() >= deadline:
            return running
        time.sleep(0.05)
    return []


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
    """A backend on a machine without GPUs; none of its jobs outlives the test."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    backend = LocalBackend(tmp_path / "results", say=lambda _: None)
    yield backend
    for status in backend.list():
        backend.cancel(status.name, grace_seconds=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "local" / "tiny"


def test_a_job_succeeds_is_then_done_and_more_epochs_continue_it(backend: LocalBackend, folder: Path) -> None:
    assert submit(backend).outcome == "created"
    seen = list(backend.watch("tiny"))
    assert [status.state for status in seen if status.state.is_over] == [State.SUCCEEDED]
    results = backend.results("tiny")
    assert results.summary is not None
    assert results.summary["metrics"]["accuracy"] > 0.5
    assert {"summary.json", "run.json", "report.html", "attempts/0001.json"} <= set(results.files)

    assert submit(backend).outcome == "already done"
    first = steps(folder)
    assert submit(backend, epochs=2).outcome == "resumed"
    status = wait(backend)
    assert (status.state, status.attempt) == (State.SUCCEEDED, 2)
    both = steps(folder)
    assert both[: len(first)] == first
    assert [line["step"] for line in both] == list(range(1, 2 * len(first) + 1))

    backend.delete("tiny", grace_seconds=10)
    with pytest.raises(JobNotFound):
        backend.get("tiny")
    kept = backend.results("tiny").summary
    assert kept is not None
    assert kept["epochs"] == 2
    assert submit(backend, epochs=2).outcome == "already done"
    assert backend.get("tiny").state is State.SUCCEEDED


def test_cancel_saves_leaves_no_process_and_submit_goes_on_from_there(backend: LocalBackend, folder: Path) -> None:
    submit(backend, epochs=ENDLESS)
    wait_for(backend, training)
    assert submit(backend, epochs=ENDLESS).outcome == "unchanged"
    processes = family(folder)
    assert len(processes) == 3
    status = backend.cancel("tiny", grace_seconds=60)
    assert (status.state, status.exit_code) == (State.CANCELLED, 143)
    assert survivors(processes) == []
    checkpoint = max((folder / "checkpoints").glob("step-*")).name

    assert submit(backend, epochs=ENDLESS).outcome == "resumed"
    wait_for(backend, lambda status: status.attempt == 2 and training(status))
    assert json.loads((folder / "attempts" / "0002.json").read_text())["resumed_from"] == checkpoint
    backend.delete("tiny", grace_seconds=60)
    assert list((folder / "checkpoints").glob("step-*/COMPLETE"))


def test_a_supervisor_that_is_killed_means_failed_and_takes_its_ranks_along(
    backend: LocalBackend, folder: Path
) -> None:
    submit(backend, epochs=ENDLESS)
    wait_for(backend, training)
    leader, *ranks = family(folder)
    os.kill(leader.pid, signal.SIGKILL)
    assert survivors(ranks, seconds=5) == []
    status = wait(backend)
    assert status.state is State.FAILED
    assert "vanished" in status.reason
    assert submit(backend, epochs=ENDLESS).outcome == "resumed"
    assert wait_for(backend, lambda status: status.attempt == 2 and training(status)).state is State.RUNNING


def test_a_supervisor_that_somebody_else_stops_means_suspended(backend: LocalBackend, folder: Path) -> None:
    submit(backend, epochs=ENDLESS)
    wait_for(backend, training)
    os.kill(family(folder)[0].pid, signal.SIGTERM)
    status = wait(backend)
    assert (status.state, status.exit_code) == (State.SUSPENDED, 143)


def test_a_rank_that_is_killed_is_started_again_and_logs_follow_it(backend: LocalBackend, folder: Path) -> None:
    submit(backend, epochs=ENDLESS)
    wait_for(backend, lambda _: any((folder / "checkpoints").glob("step-*/COMPLETE")))
    lines: list[LogLine] = []
    follower = threading.Thread(
        target=lambda: lines.extend(backend.logs("tiny", follow=True, rank=None, tail=None)), daemon=True
    )
    follower.start()
    os.kill(family(folder)[1].pid, signal.SIGKILL)
    status = wait_for(backend, lambda status: status.attempt == 2 and training(status))
    assert status.state is State.RUNNING
    backend.cancel("tiny", grace_seconds=60)
    follower.join(timeout=10)
    assert not follower.is_alive()
    assert {line.source for line in lines if "resumed after step" in line.text} == {"rank 0", "rank 1"}


def test_a_job_that_fails_names_rank_and_exception(backend: LocalBackend) -> None:
    submit(backend, optimizer={"name": "sgd", "lr": 1e30})
    status = wait(backend)
    assert (status.state, status.exit_code) == (State.FAILED, 4)
    assert status.failure is not None
    assert status.failure.exception is not None
    assert "NonFinite" in status.failure.exception
    lines = backend.logs("tiny", follow=False, rank=status.failure.rank, tail=None)
    assert "NonFiniteError" in "\n".join(line.text for line in lines)


def test_another_configuration_is_refused_with_the_difference(backend: LocalBackend) -> None:
    submit(backend)
    with pytest.raises(InvalidJob, match=r"train.batch_size: 64 -> 32"):
        submit(backend, batch_size=32)
    wait(backend)


def _submit_elsewhere(root: Path, outcomes: Any) -> None:
    backend = LocalBackend(root, say=lambda _: None)
    outcomes.put(submit(backend, epochs=ENDLESS).outcome)


def test_two_launchers_at_once_start_one_supervisor(backend: LocalBackend, tmp_path: Path, folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    outcomes = context.Queue()
    launchers = [context.Process(target=_submit_elsewhere, args=(tmp_path / "results", outcomes)) for _ in range(3)]
    for launcher in launchers:
        launcher.start()
    assert sorted(outcomes.get(timeout=WAIT_SECONDS) for _ in launchers) == ["created", "unchanged", "unchanged"]
    for launcher in launchers:
        launcher.join()
    # Their parents are gone by now, and the job runs on.
    wait_for(backend, training)
    supervisors = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or [])]
    leaders = [p for p in supervisors if os.getsid(p.pid) == p.pid]
    assert len(leaders) == 1
    assert len(list((folder / "attempts").glob("*.json"))) == 1
