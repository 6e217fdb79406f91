"""What the supervisor leaves in the pod's status for the launcher, from real runs."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.trainer_runs import attempts, metrics, running, tiny


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "termination-log"))
    return tmp_path / "termination-log"


def _message(log_file: Path) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(log_file.read_bytes())
    return message


def test_a_finished_run_and_its_repetition_tell_the_final_metrics(tmp_path: Path, log_file: Path) -> None:
    folder = tmp_path / "results"
    for attempt in (1, None):
        with running(folder, tiny(epochs=1)) as run:
            assert run.wait() == 0, run.output()
        message = _message(log_file)
        assert (message["job"], message["attempt"], message["code"]) == ("tiny", attempt, 0)
        assert message["metrics"] == json.loads((folder / "summary.json").read_text())["metrics"]
        log_file.unlink()


def test_a_failed_run_tells_what_its_attempt_records(tmp_path: Path, log_file: Path) -> None:
    folder = tmp_path / "results"
    with running(folder, tiny(data={"kind": "idx", "path": "/nonexistent"})) as run:
        assert run.wait() == 3
    end = attempts(folder)[-1]["end"]
    del end["ended"], end["out_of_memory"]
    assert _message(log_file) == {"job": "tiny", "attempt": 1, **end, "metrics": None}


def test_a_preempted_run_says_so(tmp_path: Path, log_file: Path) -> None:
    folder = tmp_path / "results"
    with running(folder, tiny(epochs=1000)) as run:
        run.wait_until(lambda: bool(metrics(folder)))
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 143, run.output()
    assert _message(log_file)["code"] == 143
