import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.output import termination
from trainer.output.termination import MAX_BYTES, termination_message, write_termination_message

FAILED: dict[str, Any] = {
    "code": 3,
    "cause": "train.idx is shorter than its header says",
    "rank": 1,
    "exception": "DataError",
    "lines": ["first", "last"],
}


def _message(end: dict[str, Any], metrics: dict[str, Any] | None = None) -> dict[str, Any]:
    encoded = termination_message(end, job="digits", attempt=7, metrics=metrics)
    assert len(encoded) <= MAX_BYTES
    message: dict[str, Any] = json.loads(encoded)
    return message


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "termination-log"))
    return tmp_path / "termination-log"


def test_a_short_end_is_told_whole() -> None:
    assert _message(FAILED) == {"job": "digits", "attempt": 7, **FAILED, "metrics": None}


def test_a_long_traceback_loses_its_oldest_lines_and_nothing_else() -> None:
    lines = [f"{number:03d} {'x' * 196}" for number in range(30)]
    message = _message({**FAILED, "lines": lines})
    kept = message["lines"]
    assert len(kept) >= 14
    assert message == {"job": "digits", "attempt": 7, **FAILED, "lines": lines[-len(kept) :], "metrics": None}


def test_a_long_cause_is_cut_at_its_end_once_no_line_is_left() -> None:
    cause = "".join(f"{number} " for number in range(2000))
    message = _message({**FAILED, "cause": cause})
    assert message["lines"] == []
    assert cause.startswith(message["cause"])
    assert len(message["cause"]) > 2500


def test_metrics_that_do_not_fit_lose_their_tail() -> None:
    metrics = {f"metric {number}": number / 7 for number in range(500)}
    kept = _message({"code": 0, "cause": "done"}, metrics)["metrics"]
    assert kept == dict(list(metrics.items())[: len(kept)])
    assert len(kept) > 50


any_text = st.text(st.characters(exclude_categories=()), max_size=6000)


@given(any_text, any_text, any_text, st.lists(any_text, max_size=20), st.dictionaries(any_text, st.floats(0, 1)))
def test_any_text_gives_valid_json_within_the_limit(
    job: str, cause: str, exception: str, lines: list[str], metrics: dict[str, Any]
) -> None:
    end = {"code": 1, "cause": cause, "rank": 0, "exception": exception, "lines": lines}
    encoded = termination_message(end, job=job, attempt=1, metrics=metrics)
    assert len(encoded) <= MAX_BYTES
    assert json.loads(encoded)["code"] == 1


def test_a_finished_run_reports_the_metrics_of_its_summary(tmp_path: Path, log_file: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {"split": "test", "accuracy": 0.75}}))
    write_termination_message({"code": 0, "cause": "done"}, job="digits", attempt=1, folder=tmp_path)
    assert json.loads(log_file.read_bytes())["metrics"] == {"split": "test", "accuracy": 0.75}


def test_a_failed_run_does_not_report_the_metrics_of_an_earlier_one(tmp_path: Path, log_file: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {"accuracy": 0.75}}))
    write_termination_message(FAILED, job="digits", attempt=2, folder=tmp_path)
    assert json.loads(log_file.read_bytes())["metrics"] is None


def test_the_file_of_the_kubelet_is_used_only_where_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERMINATION_LOG", raising=False)
    monkeypatch.setattr(termination, "KUBELET_PATH", tmp_path / "termination-log")
    write_termination_message(FAILED, job="digits", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "termination-log").touch()
    write_termination_message(FAILED, job="digits", folder=tmp_path)
    assert json.loads((tmp_path / "termination-log").read_bytes())["code"] == 3


def test_a_message_that_cannot_be_written_changes_nothing_but_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path))
    write_termination_message(FAILED, job="digits", folder=tmp_path)
    assert "termination message" in caplog.text
