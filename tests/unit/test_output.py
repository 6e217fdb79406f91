"""What lands on stdout: tables for people, JSON and YAML for programs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from launcher import output
from launcher.backends.base import Failure, JobStatus, Progress, Results, State, Submission

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def status(**changes: Any) -> JobStatus:
    usual: dict[str, Any] = {
        "name": "digits",
        "namespace": "local",
        "backend": "local",
        "state": State.RUNNING,
        "ranks": 2,
        "nodes": 1,
        "attempt": 1,
        "submitted": NOON,
        "ended": None,
        "exit_code": None,
        "reason": "",
        "results": "/results/local/digits",
        "progress": None,
    }
    return JobStatus(**{**usual, **changes})


def test_columns_are_aligned_and_nothing_trails() -> None:
    assert (
        output.table(["NAME", "STATE"], [["a", "Running"], ["longer", ""]]) == "NAME    STATE\na       Running\nlonger"
    )


def test_control_characters_cannot_steer_the_terminal() -> None:
    shown = output.table(["NAME"], [["a\x1b[2Jb\nc\u202e\x85é"]])
    assert shown == "NAME\na\\x1b[2Jb\\nc\\u202e\\x85é"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (11100, "3h5m"),
        (90000, "1d1h"),
        (86400 * 12 + 3600, "12d"),
    ],
)
def test_age_is_short(seconds: int, shown: str) -> None:
    assert output.age(NOON, NOON + timedelta(seconds=seconds)) == shown


def test_list_begins_with_the_agreed_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_list([status(), status(name="other", state=State.FAILED)], "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "RANKS", "NODES", "ATTEMPT", "AGE"]
    assert [line.split()[:2] for line in lines[1:]] == [["digits", "Running"], ["other", "Failed"]]


def test_wide_adds_columns_behind_the_usual_ones(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(step=3, steps=9, epoch=1, epochs=2, loss=None, samples_per_second=1.0, eta_seconds=None)
    output.show_status(status(progress=progress, exit_code=3, reason="bad\x07"), "wide")
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == [*output.COLUMNS, "STEP", "EXIT", "BACKEND", "RESULTS", "REASON"]
    assert row.split()[6:] == ["3/9", "3", "local", "/results/local/digits", "bad\\x07"]


def test_json_keys_are_stable(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(cause="data", rank=1, exception=None, lines=("a",))
    output.show_status(status(state=State.FAILED, ended=NOON, exit_code=3, failure=failure), "json")
    assert json.loads(capsys.readouterr().out) == {
        "schemaVersion": 1,
        "name": "digits",
        "namespace": "local",
        "backend": "local",
        "state": "Failed",
        "ranks": 2,
        "nodes": 1,
        "attempt": 1,
        "submitted": "2030-01-01T12:00:00+00:00",
        "ended": "2030-01-01T12:00:00+00:00",
        "exit_code": 3,
        "reason": "",
        "results": "/results/local/digits",
        "progress": None,
        "advice": "",
        "failure": {"cause": "data", "rank": 1, "exception": None, "lines": ["a"]},
    }


def test_yaml_says_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_list([status()], "json")
    as_json = json.loads(capsys.readouterr().out)
    output.show_list([status()], "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == as_json
    assert as_json["jobs"][0]["name"] == "digits"


@pytest.mark.parametrize(("form", "shown"), [("table", "digits created\n"), ("name", "digits\n")])
def test_a_submission_prints_name_and_outcome(form: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.show_submission(Submission(outcome="created", status=status()), form)
    assert capsys.readouterr().out == shown


SUMMARY = {
    "job": "digits",
    "epochs": 2,
    "steps": 40,
    "metrics": {"split": "test", "loss": 0.123456, "accuracy": 0.9, "confusion": [[1]]},
    "report": {"classes": [{"class": "a", "f1": 1.0, "support": 7}, {"class": "b\x1b", "f1": 0.5, "support": 8}]},
}


def test_results_show_metrics_and_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_results("digits", Results(path="/r", summary=SUMMARY, files=()), "table")
    header, row, path = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "EPOCHS", "STEPS", "SPLIT", "LOSS", "ACCURACY"]
    assert row.split() == ["digits", "2", "40", "test", "0.1235", "0.9000"]
    assert path == "results: /r"


def test_results_with_many_metrics_show_the_first_and_say_how_to_see_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = {**SUMMARY, "metrics": {"split": "test", "loss": 0.1, "accuracy": 0.9, "macro_f1": 0.8, "macro_auc": 0.7}}
    output.show_results("digits", Results(path="/r", summary=summary, files=()), "table")
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].endswith("MACRO_F1")
    assert shown.err == "1 more metrics with -o wide\n"
    output.show_results("digits", Results(path="/r", summary=summary, files=()), "wide")
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].endswith("MACRO_AUC")
    assert not shown.err


def test_wide_results_add_the_classes(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_results("digits", Results(path="/r", summary=SUMMARY, files=()), "wide")
    shown = capsys.readouterr().out
    assert "\nCLASS  F1      SUPPORT\na      1.0000  7\nb\\x1b  0.5000  8\n" in shown


def test_wide_results_add_the_confidence_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {**SUMMARY, "intervals": {"confidence": 0.95, "resamples": 1000, "accuracy": [0.85, 0.93333]}}
    output.show_results("digits", Results(path="/r", summary=summary, files=()), "wide")
    shown = capsys.readouterr().out
    assert "\n\n95% INTERVAL  FROM    TO\naccuracy      0.8500  0.9333\n\nCLASS" in shown
    for broken in (None, 7, {"accuracy": 1}, {"confidence": "?", "accuracy": [1, 2]}):
        output.show_results("digits", Results(path="/r", summary={**summary, "intervals": broken}, files=()), "wide")
        assert "INTERVAL" not in capsys.readouterr().out


def test_results_of_a_cross_validation_show_the_deviation_over_folds(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {**SUMMARY, "folds": {"count": 5, "std": {"accuracy": 0.01234}}}
    output.show_results("digits", Results(path="/r", summary=summary, files=()), "table")
    assert "0.1235  0.9000 ± 0.0123" in capsys.readouterr().out


def test_results_as_json_carry_the_whole_summary(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_results("digits", Results(path="/r", summary=SUMMARY, files=()), "json")
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"schemaVersion": 1, "name": "digits", "path": "/r", "summary": SUMMARY}
