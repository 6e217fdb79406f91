"""The life of a job on a real cluster: submit, results, suspend, resume, cancel, delete, and nothing is left behind."""

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs import Jobs
from tests.cluster.team import Team
from tests.command_line import EXAMPLES
from tests.trainer_runs import RESULT_FILES, attempts, leftovers, metrics

# Trains until somebody stops it; one pod of one rank on a CPU.
ENDLESS: dict[str, Any] = {"gpus": 0, "processes": 1, "train": {"epochs": 100_000}}
# Kept by the API server for an hour, whatever became of the job.
EVENTS = ("event/", "event.events.k8s.io/")


def objects(team: Team) -> set[str]:
    """Every object of the namespace, of every kind that the cluster lists, as ``kind/name``."""
    kinds = team.admin("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    found = team.admin("get", ",".join(kinds), "--output=name", "--ignore-not-found").split()
    return {name for name in found if not name.startswith(EVENTS)}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train(jobs: Jobs, name: str, *, attempt: int = 1) -> None:
    """Wait until the job trains in its ``attempt``, some steps after its start."""
    jobs.wait_until(lambda: len(attempts(jobs.results_folder(name))) == attempt, name=name)
    begun = jobs.steps_done(name)
    jobs.wait_until(lambda: jobs.steps_done(name) > begun + 30, name=name)


def assert_went_on(jobs: Jobs, name: str) -> None:
    """Each attempt went on from the step that the one before had saved when it was asked to stop."""
    folder = jobs.results_folder(name)
    steps = [line["step"] for line in metrics(folder) if line["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1)), "a step was repeated or skipped"
    stopped, resumed = attempts(folder)[-2:]
    assert (stopped["end"]["code"], stopped["end"]["cause"]) == (143, "asked to leave; saved")
    saved = int(resumed["resumed_from"].removeprefix("step-"))
    assert saved > int((stopped["resumed_from"] or "step-0").removeprefix("step-"))


def assert_only_the_job_is_left(jobs: Jobs, before: set[str], name: str) -> None:
    jobs.wait_until(lambda: objects(jobs.team) == before | {f"pytorchjob.kubeflow.org/{name}"}, seconds=30, name=name)


@pytest.mark.timeout(900)  # other jobs may hold GPUs that it waits for
def test_eight_ranks_in_two_pods_train_to_the_end_and_their_results_are_fetched_byte_equal(
    jobs: Jobs, tmp_path: Path
) -> None:
    split = ("--gpus", "8", "--gpus-per-node", "4")
    done = jobs.launcher("submit", *split, "--follow", str(EXAMPLES / "digits.yaml"), timeout=800)
    assert done.returncode == 0, done.stderr + jobs.describe("digits")
    assert "results: pvc/results/" in done.stdout

    assert [pod["status"]["phase"] for pod in jobs.pods("digits")] == ["Succeeded", "Succeeded"]
    folder = jobs.results_folder("digits")
    expected = [*RESULT_FILES, *(f"logs/attempt-1/rank-{rank}.log" for rank in range(8))]
    assert [name for name in expected if not (folder / name).is_file()] == []
    assert not leftovers(folder)
    (attempt,) = attempts(folder)
    assert (attempt["ranks"], attempt["nodes"], attempt["end"]["code"]) == (8, 2, 0)
    assert {place["node"] for place in attempt["rank_map"].values()} == {0, 1}

    fetched = jobs.launcher("results", "digits", "--fetch", str(tmp_path / "copy"))
    assert fetched.returncode == 0, fetched.stderr
    assert files(tmp_path / "copy") == files(folder)


def test_suspended_resumed_cancelled_and_deleted_jobs_leave_nothing_but_their_results(team: Team, jobs: Jobs) -> None:
    before = objects(team)
    jobs.submit("job", **ENDLESS)
    train(jobs, "job")
    assert jobs.launcher("suspend", "job").returncode == 0
    assert jobs.status("job")["state"] == "Suspended"
    assert_only_the_job_is_left(jobs, before, "job")

    assert jobs.launcher("resume", "job").returncode == 0
    train(jobs, "job", attempt=2)
    assert_went_on(jobs, "job")
    assert jobs.launcher("cancel", "job").returncode == 0
    assert jobs.status("job")["state"] == "Cancelled"
    assert_only_the_job_is_left(jobs, before, "job")

    jobs.submit("job", **ENDLESS)
    train(jobs, "job", attempt=3)
    assert_went_on(jobs, "job")
    deleted = jobs.launcher("delete", "job")
    assert deleted.returncode == 0, deleted.stderr
    jobs.wait_until(lambda: objects(team) == before, seconds=30, name="job")
    assert len(metrics(jobs.results_folder("job"))) > 90
    assert jobs.launcher("status", "job").returncode == 4


def test_two_jobs_deleted_by_plain_kubectl_save_leave_nothing_and_go_on_when_submitted_again(
    team: Team, jobs: Jobs
) -> None:
    before = objects(team)
    for name in ("one", "two"):
        jobs.submit(name, **ENDLESS)
    for name in ("one", "two"):
        train(jobs, name)
    team.submitter("delete", "pytorchjob", "one", "two")
    jobs.wait_until(lambda: objects(team) == before, seconds=60)

    for name in ("one", "two"):
        jobs.submit(name, **ENDLESS)
    for name in ("one", "two"):
        train(jobs, name, attempt=2)
        assert_went_on(jobs, name)
    team.submitter("delete", "pytorchjob", "--all")
    jobs.wait_until(lambda: objects(team) == before, seconds=60)
