"""Submitting again: what each state of a job and each change of its file lead to."""

import importlib.util
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.backends.base import State
from launcher.backends.local import submission
from launcher.errors import BackendUnusable, DoesNotFit, InvalidJob, JobNotFound, LauncherError
from tests.unit.fake_jobs import FAKE, FakeJobs

LONGER: dict[str, Any] = {"train": {"epochs": 5}}
DIFFERENT: dict[str, Any] = {"train": {"batch_size": 128}}


def supervisors() -> list[psutil.Process]:
    """The scripted supervisors that run; other tests may have left children of other kinds."""
    return [child for child in psutil.Process().children() if str(FAKE) in child.cmdline()]


def bring_to(jobs: FakeJobs, standing: str) -> None:
    """Submit the digits job and bring it to ``standing``."""
    plans = {"succeeded": ("succeed", {}), "failed": ("fail", {"code": 3}), "never started": ("die early", {})}
    do, details = plans.get(standing.removeprefix("deleted, "), ("run", {}))
    jobs.plan(do, **details)
    jobs.submit()
    if do != "run":
        jobs.wait()
    else:
        jobs.running()
    if standing == "suspended":
        os.kill(supervisor(jobs), signal.SIGTERM)
        jobs.wait()
    if standing == "vanished":
        os.kill(supervisor(jobs), signal.SIGKILL)
        jobs.wait()
    if standing == "cancelled":
        jobs.backend.cancel("digits", grace_seconds=10)
    if standing.startswith("deleted"):
        jobs.backend.delete("digits", grace_seconds=10)
    jobs.plan("run")


def supervisor(jobs: FakeJobs, name: str = "digits") -> int:
    record = json.loads((jobs.root / "local" / name / "job.json").read_text())
    return int(record["pid"])


def attempts(jobs: FakeJobs) -> int:
    return len(list((jobs.root / "local" / "digits" / "attempts").glob("*.json")))


@pytest.mark.parametrize(
    ("standing", "change", "outcome", "state"),
    [
        ("running", {}, "unchanged", State.RUNNING),
        ("running", LONGER, "unchanged", State.RUNNING),
        ("failed", {}, "resumed", State.RUNNING),
        ("failed", LONGER, "resumed", State.RUNNING),
        ("never started", {}, "resumed", State.RUNNING),
        ("vanished", {}, "resumed", State.RUNNING),
        ("suspended", {}, "resumed", State.RUNNING),
        ("cancelled", {}, "resumed", State.RUNNING),
        ("succeeded", {}, "already done", State.SUCCEEDED),
        ("succeeded", {"train": {"epochs": 1}}, "already done", State.SUCCEEDED),
        ("succeeded", LONGER, "resumed", State.RUNNING),
        ("deleted, running", {}, "resumed", State.RUNNING),
        ("deleted, failed", {}, "resumed", State.RUNNING),
        ("deleted, succeeded", {}, "already done", State.SUCCEEDED),
        ("deleted, succeeded", LONGER, "resumed", State.RUNNING),
    ],
)
def test_same_run_is_left_alone_continued_or_done(
    jobs: FakeJobs, standing: str, change: dict[str, Any], outcome: str, state: State
) -> None:
    bring_to(jobs, standing)
    before = attempts(jobs)
    submission = jobs.submit(**change)
    assert submission.outcome == outcome
    if outcome == "resumed":
        assert jobs.running().attempt == before + 1
    assert jobs.backend.get("digits").state is state
    assert attempts(jobs) == before + (outcome == "resumed")


@pytest.mark.parametrize("standing", ["running", "failed", "succeeded", "cancelled", "deleted, failed"])
def test_another_run_under_the_same_name_is_refused_with_the_difference(jobs: FakeJobs, standing: str) -> None:
    bring_to(jobs, standing)
    before = attempts(jobs)
    with pytest.raises(InvalidJob) as refused:
        jobs.submit(**DIFFERENT)
    assert "train.batch_size: 64 -> 128" in refused.value.message
    assert "--name" in refused.value.message
    assert "--fresh" in refused.value.message
    assert attempts(jobs) == before


def test_fresh_sets_the_old_folders_aside_and_starts_anew(jobs: FakeJobs) -> None:
    bring_to(jobs, "failed")
    for number in (1, 2):
        assert jobs.submit(fresh=True, **DIFFERENT).outcome == "created"
        assert jobs.running().attempt == 1
        aside = jobs.root / "local" / f"digits.old-{number}"
        assert (aside / "attempts" / "0001.json").exists()
        assert jobs.said == [f"moved the earlier results to {aside}"]
        jobs.said.clear()
        jobs.backend.cancel("digits", grace_seconds=10)
    assert [status.name for status in jobs.backend.list()] == ["digits"]


def test_fresh_is_refused_while_the_job_runs(jobs: FakeJobs) -> None:
    bring_to(jobs, "running")
    with pytest.raises(InvalidJob, match="launcher cancel digits"):
        jobs.submit(fresh=True)
    assert jobs.backend.get("digits").state is State.RUNNING


def test_a_first_submit_creates(jobs: FakeJobs) -> None:
    assert jobs.submit().outcome == "created"
    status = jobs.running()
    assert (status.attempt, status.ranks, status.nodes) == (1, 2, 1)
    assert status.progress is not None
    assert status.progress.eta_seconds == 1.5


def test_a_resumed_job_may_have_another_number_of_ranks(jobs: FakeJobs) -> None:
    bring_to(jobs, "failed")
    assert jobs.submit(processes=3).outcome == "resumed"
    assert jobs.running().ranks == 3


def test_two_concurrent_submits_start_one_supervisor(jobs: FakeJobs) -> None:
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda: outcomes.append(jobs.submit().outcome)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created", "unchanged", "unchanged", "unchanged"]
    jobs.running()
    assert attempts(jobs) == 1
    assert len(supervisors()) == 1


def test_a_pid_that_now_belongs_to_another_process_is_not_the_supervisor(jobs: FakeJobs) -> None:
    bring_to(jobs, "vanished")
    record_file = jobs.root / "local" / "digits" / "job.json"
    record = json.loads(record_file.read_text())
    record_file.write_text(json.dumps({**record, "pid": os.getpid()}))
    assert jobs.backend.get("digits").state is State.FAILED
    assert jobs.submit().outcome == "resumed"


def test_a_running_supervisor_is_found_although_its_record_is_lost(jobs: FakeJobs) -> None:
    bring_to(jobs, "running")
    (jobs.root / "local" / "digits" / "job.json").unlink()
    assert jobs.submit().outcome == "unchanged"
    assert jobs.backend.get("digits").state is State.RUNNING


def test_a_failed_submit_leaves_no_supervisor_behind(jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "job.json")

    with monkeypatch.context() as patch:
        patch.setattr("launcher.backends.local.record.JobFolder.write_record", full)
        with pytest.raises(LauncherError, match=r"job.json: No space left on device(.|\n)*--results-dir"):
            jobs.submit()
    assert supervisors() == []


def test_submitting_into_a_job_that_is_stopping_is_refused(jobs: FakeJobs) -> None:
    jobs.plan("ignore SIGTERM")
    jobs.submit()
    jobs.running()
    stopping = threading.Thread(target=lambda: jobs.backend.cancel("digits", grace_seconds=1.5))
    stopping.start()
    jobs.wait_for(lambda status: "stopping" in status.reason)
    with pytest.raises(LauncherError, match="launcher wait digits"):
        jobs.submit()
    stopping.join()
    assert jobs.backend.get("digits").state is State.CANCELLED


def test_gpus_become_cpu_ranks_where_there_is_no_device(jobs: FakeJobs) -> None:
    jobs.submit(processes=None, gpus=3)
    assert jobs.said == ["no CUDA device here: training on 3 CPU ranks instead"]
    assert jobs.running().ranks == 3


def test_too_few_devices_do_not_fit(jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "cuda_devices", lambda: 1)
    with pytest.raises(DoesNotFit, match="wants 2, this machine shows 1"):
        jobs.submit(processes=None, gpus=2)


def test_a_machine_without_torch_says_what_to_install(jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnusable, match=r"pip install 'pytorchjob-launcher\[trainer\]'"):
        jobs.submit()


def test_a_machine_without_mlflow_says_what_to_install(jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else find_spec(name))
    with pytest.raises(InvalidJob, match=r"train.logging.mlflow: .*\n.*pip install 'pytorchjob-launcher\[mlflow\]'"):
        jobs.submit(train={"logging": {"mlflow": {}}})
    assert not (jobs.root / "local" / "digits").exists()


def test_a_volume_is_replaced_by_its_local_folder(jobs: FakeJobs, tmp_path: Path) -> None:
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    data = {"kind": "idx", "path": "/data/mnist"}
    volume = {"name": "data", "mount": "/data", "local": str(tmp_path / "data")}
    jobs.submit(train={"data": data}, volumes=[volume])
    jobs.running()
    run = json.loads((jobs.root / "local" / "digits" / "submitted.json").read_text())
    assert run["train"]["data"]["path"] == str(tmp_path / "data" / "mnist")
    assert run["spec"]["train"]["data"]["path"] == "/data/mnist"


@pytest.mark.parametrize(
    ("local", "message"), [({}, "add one to the volume"), ({"local": "/nowhere"}, "/nowhere/mnist on this machine")]
)
def test_data_that_is_not_on_this_machine_is_refused_before_the_start(
    jobs: FakeJobs, local: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidJob, match=message):
        jobs.submit(
            train={"data": {"kind": "idx", "path": "/data/mnist"}},
            volumes=[{"name": "data", "mount": "/data", **local}],
        )
    with pytest.raises(JobNotFound):
        jobs.backend.get("digits")
