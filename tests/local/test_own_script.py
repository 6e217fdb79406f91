"""A plain PyTorch script, and scripts that fail, through ``launcher submit`` on this machine."""

import functools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psutil
import pytest

from tests.command_line import ROOT, environment, run_launcher
from tests.trainer_runs import attempts, metrics

WAIT_SECONDS = 90.0
EXAMPLE = ("examples/own-script.yaml", "--set", 'command.2="12"', "--gpus", "2")
STEPS = 12 * 22

Run = Callable[..., CompletedProcess[str]]


def launcher(root: Path, *arguments: str, cwd: Path = ROOT) -> CompletedProcess[str]:
    """Run the launcher on a machine without GPUs, with its results in ``root``."""
    variables = environment(CUDA_VISIBLE_DEVICES="", LAUNCHER_BACKEND="local", LAUNCHER_RESULTS=str(root))
    return run_launcher(*arguments, env=variables, cwd=cwd)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """The launcher with a results folder of the test's own, in which nothing runs on."""
    yield functools.partial(launcher, tmp_path)
    for folder in (tmp_path / "local").glob("*"):
        launcher(tmp_path, "delete", folder.name, "--grace-period", "0s")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    done = launcher(root, "submit", *EXAMPLE, "--wait")
    assert done.returncode == 0, done.stderr
    folder = root / "local" / "own-script"
    assert len(metrics(folder)) == STEPS
    assert metrics(folder)[-1]["accuracy"] > 0.9
    return folder


def wait_until(condition: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, _log(folder, "supervisor.log")
        time.sleep(0.01)


def ranks(folder: Path) -> list[psutil.Process]:
    """The living ranks, in their order."""
    record = json.loads((folder / "job.json").read_text())
    return psutil.Process(record["pid"]).children()


@pytest.mark.slow
def test_a_plain_script_that_is_killed_and_cancelled_goes_on_and_ends_byte_equal(
    run: Run, tmp_path: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "local" / "own-script"
    assert run("submit", *EXAMPLE).stdout == "own-script created\n"
    wait_until(lambda: len(metrics(folder)) >= 30, folder)
    os.kill(ranks(folder)[1].pid, signal.SIGKILL)
    wait_until(lambda: "resumed after step" in _log(folder, "attempt-2/rank-1.log"), folder)
    _cancel(run, folder)
    document = json.loads(run("status", "own-script", "-o", "json").stdout)
    assert (document["state"], document["exit_code"], document["attempt"]) == ("Cancelled", 143, 2)
    assert run("wait", "own-script").returncode == 7
    again = run("submit", *EXAMPLE, "--wait")
    assert again.returncode == 0, again.stderr
    assert "own-script resumed" in again.stderr

    history = attempts(folder)
    assert [attempt["end"]["code"] for attempt in history] == [137, 143, 0]
    assert [attempt["resumed_from"] is None for attempt in history] == [True, False, False]
    assert (folder / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()


def _cancel(run: Run, folder: Path) -> None:
    """Cancel, while a rank rests so that the script cannot end before."""
    rank = ranks(folder)[1]
    rank.suspend()
    cancelled: list[CompletedProcess[str]] = []
    canceller = threading.Thread(target=lambda: cancelled.append(run("cancel", "own-script")), daemon=True)
    canceller.start()
    wait_until(lambda: "asked to finish their step" in _log(folder, "supervisor.log"), folder)
    rank.resume()
    canceller.join()
    assert cancelled[0].returncode == 0, cancelled[0].stderr


def _log(folder: Path, name: str) -> str:
    path = folder / "logs" / name
    return path.read_text() if path.exists() else ""


def test_the_example_survives_the_loss_of_a_rank_has_results_and_is_then_done(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "local" / "own-script"
    assert run("submit", *EXAMPLE).stdout == "own-script created\n"
    wait_until(lambda: len(metrics(folder)) >= 30, folder)
    os.kill(ranks(folder)[1].pid, signal.SIGKILL)
    assert run("wait", "own-script").returncode == 0
    assert [line["step"] for line in metrics(folder)] == list(range(1, STEPS + 1))
    status: dict[str, Any] = json.loads(run("status", "own-script", "-o", "json").stdout)
    assert (status["state"], status["attempt"], status["exit_code"]) == ("Succeeded", 2, 0)
    assert (status["progress"]["step"], status["progress"]["steps"], status["progress"]["epochs"]) == (STEPS, STEPS, 12)
    shown = run("results", "own-script").stdout.splitlines()
    assert shown[0].split() == ["NAME", "EPOCHS", "STEPS", "LOSS", "ACCURACY"]
    assert shown[1].split()[:3] == ["own-script", "12", str(STEPS)]
    assert float(shown[1].split()[-1]) > 0.9
    assert run("submit", *EXAMPLE).stdout == "own-script already done\n"


@pytest.mark.slow
def test_a_script_that_was_cancelled_is_resumed_where_it_was_submitted(run: Run, tmp_path: Path) -> None:
    body = "import os, time\nprint('from', os.getcwd())\ntime.sleep(600 * (os.environ['ATTEMPT'] == '1'))\n"
    (tmp_path / "wait.py").write_text(body)
    (tmp_path / "job.yaml").write_text(json.dumps({"name": "wait", "processes": 2, "command": ["wait.py"]}))
    run("submit", "job.yaml", cwd=tmp_path)
    folder = tmp_path / "local" / "wait"
    wait_until(lambda: "from" in _log(folder, "attempt-1/rank-1.log"), folder)
    assert run("cancel", "wait").returncode == 0
    assert run("wait", "wait").returncode == 7
    assert run("resume", "wait").stdout == "wait resumed\n"
    assert run("wait", "wait").returncode == 0
    assert _log(folder, "attempt-2/rank-1.log") == f"from {tmp_path}\n"


def test_a_script_that_fails_is_explained_by_rank_exception_and_line(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "bug.py"
    script.write_text("import os, time\ntime.sleep(600 * (os.environ['RANK'] == '0'))\nlabels = {}\nlabels['17']\n")
    (tmp_path / "job.yaml").write_text(json.dumps({"name": "bug", "processes": 2, "command": [str(script)]}))
    done = run("submit", str(tmp_path / "job.yaml"), "--wait")
    assert done.returncode == 3
    for words in ("exit code  1", "rank       1", "exception  KeyError", "line 4, in <module>", "labels['17']"):
        assert words in done.stderr, done.stderr
    assert "KeyError: '17'" in run("logs", "bug", "--rank", "1").stdout
