"""The verbs that act on jobs, end to end on the local backend with scripted supervisors."""

import functools
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import launcher.backends.local.backend
from launcher.backends.local.backend import LocalBackend
from launcher.cli import cli
from launcher.commands import waiting
from tests.unit.fake_jobs import FAKE, FakeJobs, digits_spec


@pytest.fixture
def run(jobs: FakeJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line against the scripted backend."""
    command = (sys.executable, str(FAKE), str(jobs.plan_file))
    scripted = functools.partial(LocalBackend, start_command=command)
    monkeypatch.setattr(launcher.backends.local.backend, "LocalBackend", scripted)
    monkeypatch.setenv("LAUNCHER_RESULTS", str(jobs.root))
    monkeypatch.setenv("LAUNCHER_BACKEND", "local")
    (tmp_path / "job.yaml").write_text(digits_spec().model_dump_json())
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, prog_name="launcher")

    return invoke


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("watch "):
            thread.join(timeout=5)


def test_submit_prints_the_outcome_and_says_what_comes_next(run: Any) -> None:
    first = run("submit", "job.yaml")
    assert (first.exit_code, first.stdout) == (0, "digits created\n")
    assert "launcher logs -f digits" in first.stderr
    assert run("submit", "job.yaml").stdout == "digits unchanged\n"
    assert run("submit", "job.yaml", "-o", "name").stdout == "digits\n"
    document = json.loads(run("submit", "job.yaml", "-o", "json").stdout)
    assert (document["schemaVersion"], document["outcome"], document["name"]) == (1, "unchanged", "digits")


def test_follow_ends_with_the_results_on_stdout(run: Any, jobs: FakeJobs) -> None:
    jobs.plan("succeed")
    for outcome in ("created", "already done"):
        result = run("submit", "job.yaml", "--follow")
        assert result.exit_code == 0
        assert "0.9750" in result.stdout
        assert str(jobs.root / "local" / "digits") in result.stdout
        assert f"digits {outcome}" in result.stderr
        assert "Succeeded" in result.stderr


def test_a_failure_is_explained_with_cause_place_and_way_on(run: Any, jobs: FakeJobs) -> None:
    jobs.plan("fail", code=3)
    result = run("submit", "job.yaml", "--wait")
    assert result.exit_code == 3
    assert result.stdout == ""
    for part in (
        "digits Failed: data missing (rank 1, DataError: no such file)",
        "exit code  3 (data missing or unreadable)",
        "rank       1",
        "exception  DataError: no such file",
        "    a\n    b\n",
        f"launcher logs digits   ({jobs.root}/local/digits/logs)",
        "remove the cause, then submit the same file",
        "--fresh",
    ):
        assert part in result.stderr
    document = json.loads(run("submit", "job.yaml", "--wait", "-o", "json").stdout)
    assert (document["state"], document["exit_code"], document["outcome"]) == ("Failed", 3, "resumed")
    assert run("wait", "digits").exit_code == 3


def test_of_several_mistakes_each_is_shown(run: Any, jobs: FakeJobs) -> None:
    jobs.plan("fail", code=2, words={"cause": "first mistake\nsecond mistake", "exception": "ConfigError", "lines": []})
    said = run("submit", "job.yaml", "--wait").stderr
    assert "digits Failed: first mistake (rank 1, ConfigError)\n  second mistake\n  exit code  2" in said


def test_a_cancelled_job_makes_wait_exit_7(run: Any, jobs: FakeJobs) -> None:
    run("submit", "job.yaml")
    jobs.running()
    cancelled = run("cancel", "digits")
    assert (cancelled.exit_code, cancelled.stdout) == (0, "digits\n")
    assert "Cancelled" in cancelled.stderr
    again = run("cancel", "digits")
    assert again.exit_code == 0
    assert "Cancelled already" in again.stderr
    assert run("wait", "digits").exit_code == 7


def test_a_timeout_exits_124_and_the_job_keeps_running(run: Any, jobs: FakeJobs) -> None:
    run("submit", "job.yaml")
    for arguments in (("wait", "digits"), ("submit", "job.yaml", "--follow")):
        result = run(*arguments, "--timeout", "300ms")
        assert result.exit_code == 124
        assert "launcher logs -f digits" in result.stderr
    assert jobs.running().attempt == 1
    run("cancel", "digits")


def test_ctrl_c_detaches_with_130_and_the_job_keeps_running(
    run: Any, jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting, "_statuses", interrupted)
    result = run("submit", "job.yaml", "--follow")
    assert result.exit_code == 130
    assert "keeps running" in result.stderr
    assert "launcher wait digits" in result.stderr
    assert jobs.running().attempt == 1


def test_timeout_without_waiting_is_a_usage_error(run: Any) -> None:
    assert run("submit", "job.yaml", "--timeout", "5s").exit_code == 2


def test_list_and_status_show_the_job(run: Any, jobs: FakeJobs) -> None:
    empty = run("list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert json.loads(run("list", "-o", "json").stdout) == {"schemaVersion": 1, "jobs": []}
    run("submit", "job.yaml")
    jobs.running()
    assert run("list").stdout.splitlines()[1].split()[:5] == ["digits", "Running", "2", "1", "1"]
    status = run("status", "digits")
    assert status.stdout == run("list").stdout
    assert "step 10/20" in status.stderr
    assert json.loads(run("status", "digits", "-o", "json").stdout)["progress"]["step"] == 10


def test_list_survives_a_record_that_cannot_be_read(run: Any, jobs: FakeJobs) -> None:
    run("submit", "job.yaml")
    broken = jobs.root / "local" / "broken"
    broken.mkdir()
    (broken / "job.json").write_text("{")
    listed = run("list")
    assert listed.exit_code == 0
    assert "digits" in listed.stdout
    assert f"{broken}/job.json: cannot be read" in listed.stderr


@pytest.mark.parametrize("verb", ["status", "logs", "wait", "cancel", "delete", "results"])
@pytest.mark.parametrize("name", ["digit", "../local/digits", "", "digits.old-1"])
def test_an_unknown_name_exits_4_and_names_folder_and_neighbours(
    run: Any, jobs: FakeJobs, verb: str, name: str
) -> None:
    jobs.plan("succeed")
    run("submit", "job.yaml", "--wait")
    result = run(verb, name)
    assert result.exit_code == 4
    assert str(jobs.root / "local") in result.stderr
    assert "jobs there: digits" in result.stderr
    assert "--results-dir" in result.stderr


def test_logs_carry_their_rank_when_there_are_several(run: Any, jobs: FakeJobs) -> None:
    jobs.plan("succeed")
    run("submit", "job.yaml", "--wait")
    assert run("logs", "digits", "--tail", "2").stdout.splitlines() == [
        "[rank 0] attempt 1 rank 0",
        "[rank 0] caf\ufffd",
        "[rank 1] attempt 1 rank 1",
        "[rank 1] caf\ufffd",
    ]
    assert run("logs", "digits", "--rank", "1", "--tail", "1").stdout == "caf\ufffd\n"


def test_results_wait_for_success(run: Any, jobs: FakeJobs) -> None:
    run("submit", "job.yaml")
    jobs.running()
    early = run("results", "digits")
    assert early.exit_code == 4
    assert "it is Running; `launcher wait digits`" in early.stderr
    run("cancel", "digits")
    assert "it is Cancelled" in run("results", "digits").stderr
    jobs.plan("succeed")
    run("submit", "job.yaml", "--wait")
    assert run("results", "digits").exit_code == 0
    assert json.loads(run("results", "digits", "-o", "json").stdout)["summary"]["metrics"]["accuracy"] == 0.975


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A browser that is noisy and notes what it is asked to show; the file it notes that in."""
    shown = tmp_path / "shown"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho noise\necho noise >&2\necho "$1" > {shown}\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    return shown


def test_open_shows_the_report_in_the_browser_and_prints_its_path(run: Any, jobs: FakeJobs, browser: Path) -> None:
    jobs.plan("succeed")
    run("submit", "job.yaml", "--wait")
    page = jobs.root / "local" / "digits" / "report.html"
    page.write_text("<p>how it went")
    opened = run("results", "digits", "--open")
    assert (opened.exit_code, opened.stdout, opened.stderr) == (0, f"{page}\n", "")
    assert browser.read_text() == f"{page.as_uri()}\n"
    jobs.plan("run")
    run("submit", "job.yaml", "--set", "train.epochs=3")
    jobs.running()
    assert "digits is Running again: this is the report of its earlier end" in run("results", "digits", "--open").stderr


def test_open_without_a_browser_leaves_it_at_the_path(
    run: Any, jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    jobs.plan("succeed")
    run("submit", "job.yaml", "--wait")
    page = jobs.root / "local" / "digits" / "report.html"
    page.touch()
    opened = run("results", "digits", "--open")
    assert (opened.exit_code, opened.stdout) == (0, f"{page}\n")
    assert "no browser to open it in here: open that file yourself" in opened.stderr
    monkeypatch.setenv("BROWSER", "/nowhere/browser")
    assert "no browser to open it in" in run("results", "digits", "--open").stderr


def test_open_without_a_report_says_what_there_is_and_what_to_do(run: Any, jobs: FakeJobs, browser: Path) -> None:
    run("submit", "job.yaml")
    jobs.running()
    early = run("results", "digits", "--open")
    assert (early.exit_code, early.stdout) == (4, "")
    assert "digits has no report yet: it is Running; `launcher wait digits` waits for its end" in early.stderr
    assert f"its folder is {jobs.root}/local/digits; it holds attempts/, job.json, logs/, run.json" in early.stderr
    run("cancel", "digits")
    jobs.plan("succeed")
    run("submit", "job.yaml", "--wait")
    assert "`python -m trainer report DIR` makes one" in run("results", "digits", "--open").stderr
    assert not browser.exists()
    both = run("results", "digits", "--open", "--fetch", "copy")
    assert both.exit_code == 2
    assert "--open and --fetch exclude each other" in both.stderr


def test_delete_forgets_the_job_and_keeps_its_results(run: Any, jobs: FakeJobs) -> None:
    jobs.plan("succeed")
    run("submit", "job.yaml", "--wait")
    deleted = run("delete", "digits")
    assert (deleted.exit_code, deleted.stdout) == (0, "digits\n")
    assert f"results stay in {jobs.root}/local/digits" in deleted.stderr
    again = run("delete", "digits")
    assert again.exit_code == 0
    assert "was deleted before" in again.stderr
    gone = run("status", "digits")
    assert gone.exit_code == 4
    assert "launcher results digits" in gone.stderr
    assert "0.9750" in run("results", "digits").stdout
    assert run("submit", "job.yaml").stdout == "digits already done\n"
    assert run("status", "digits").exit_code == 0


def test_a_script_that_is_not_there_is_refused_before_anything_starts(run: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text('{"name": "own", "command": ["train.py"]}')
    result = run("submit", "own.yaml")
    assert result.exit_code == 2
    assert "command.0: train.py is" in result.stderr
    assert run("status", "own").exit_code == 4


@pytest.mark.parametrize("verb", ["submit", "list", "status", "logs", "wait", "cancel", "delete", "results"])
def test_help_shows_examples(run: Any, verb: str) -> None:
    shown = run(verb, "--help")
    assert shown.exit_code == 0
    assert f"Examples:\n    launcher {verb}" in shown.output
