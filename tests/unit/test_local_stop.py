"""Suspending, resuming and copying on the local backend."""

from pathlib import Path

import pytest

from launcher.backends.base import State
from launcher.backends.folders import copy_folder, member
from launcher.errors import InvalidJob, JobNotFound, LauncherError
from tests.unit.fake_jobs import FakeJobs


def running(jobs: FakeJobs) -> None:
    jobs.submit(processes=3)
    jobs.running()


def test_suspend_stops_with_a_checkpoint_and_resume_goes_on_as_it_was_submitted(jobs: FakeJobs) -> None:
    running(jobs)
    status = jobs.backend.suspend("digits", grace_seconds=10)
    assert (status.state, status.attempt) == (State.SUSPENDED, 1)
    assert jobs.backend.resume("digits").outcome == "resumed"
    resumed = jobs.running()
    assert (resumed.attempt, resumed.ranks) == (2, 3)


def test_a_cancelled_job_can_be_resumed_too(jobs: FakeJobs) -> None:
    running(jobs)
    assert jobs.backend.cancel("digits", grace_seconds=10).state is State.CANCELLED
    assert jobs.backend.resume("digits").outcome == "resumed"


def test_a_job_that_is_killed_while_it_stops_is_suspended_all_the_same(jobs: FakeJobs) -> None:
    jobs.plan("ignore SIGTERM")
    running(jobs)
    status = jobs.backend.suspend("digits", grace_seconds=0.2)
    assert status.state is State.SUSPENDED
    assert "older checkpoint" in status.reason


def test_resume_of_a_job_that_runs_changes_nothing(jobs: FakeJobs) -> None:
    running(jobs)
    assert jobs.backend.resume("digits").outcome == "unchanged"
    assert jobs.running().attempt == 1


@pytest.mark.parametrize(("plan", "state"), [("succeed", "Succeeded"), ("fail", "Failed")])
def test_resume_of_a_job_that_ended_says_to_submit_its_file(jobs: FakeJobs, plan: str, state: str) -> None:
    jobs.plan(plan, **({"code": 3} if plan == "fail" else {}))
    jobs.submit()
    jobs.wait()
    with pytest.raises(LauncherError, match=f"digits is {state}, not suspended; submit its file again"):
        jobs.backend.resume("digits")


def test_suspend_of_a_job_that_is_over_changes_nothing(jobs: FakeJobs) -> None:
    jobs.plan("succeed")
    jobs.submit()
    jobs.wait()
    assert jobs.backend.suspend("digits", grace_seconds=0).state is State.SUCCEEDED


def test_names_that_are_no_job_are_not_found(jobs: FakeJobs, tmp_path: Path) -> None:
    for verb in (
        lambda: jobs.backend.suspend("nobody", grace_seconds=0),
        lambda: jobs.backend.resume("nobody"),
        lambda: jobs.backend.fetch("nobody", tmp_path / "copy"),
    ):
        with pytest.raises(JobNotFound):
            verb()


def test_fetch_copies_the_folder(jobs: FakeJobs, tmp_path: Path) -> None:
    jobs.plan("succeed")
    jobs.submit()
    jobs.wait()
    copied = jobs.backend.fetch("digits", tmp_path / "copy")
    source = jobs.root / "local" / "digits"
    names = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert copied.files == len(names)
    for name in names:
        assert (tmp_path / "copy" / name).read_bytes() == (source / name).read_bytes()
    with pytest.raises(InvalidJob, match="inside the results folder itself"):
        jobs.backend.fetch("digits", source / "inner")


def test_a_copy_leaves_out_links_and_unfinished_files_and_replaces_what_is_there(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / ".tmp-1").mkdir(parents=True)
    (source / ".tmp-1" / "x").touch()
    (source / ".tmp-2").touch()
    (source / "kept").write_text("new")
    (source / "link").symlink_to("/etc/hostname")
    target.mkdir()
    (target / "kept").write_text("old")
    (target / "other").write_text("stays")
    assert copy_folder(source, target).written == ["kept"]
    assert {path.name: path.read_text() for path in target.iterdir()} == {"kept": "new", "other": "stays"}


@pytest.mark.parametrize(
    "path", ["", "/a", "..", "../a", "a/../b", "a/./b", "a//b", "a/", "a\\b", "a\nb", "\x1b[31m", 7, None]
)
def test_paths_that_are_not_plain_are_refused(path: object) -> None:
    with pytest.raises(LauncherError):
        member(path)


@pytest.mark.parametrize("path", ["a", "a/b.c", "ü/ä", ".hidden", "a b"])
def test_plain_paths_are_taken(path: str) -> None:
    assert member(path) == path
