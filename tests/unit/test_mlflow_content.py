"""What of a results folder goes to MLflow, and under which names."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import InvalidJob
from launcher.job.digest import digest
from launcher.job.load import load_job
from launcher.job.spec import JobSpec
from tests.unit.test_job_loading import JOB
from trainer.config import RunFile
from trainer.exits import ConfigError
from trainer.tracking import beside
from trainer.tracking.content import final_points, parameters, points, status, tags
from trainer.tracking.growing_file import GrowingFile
from trainer.tracking.mlflow_store import without_password


def load(*overrides: tuple[str, str]) -> JobSpec:
    return load_job(JOB, filename="job.yaml", overrides=overrides, image="trainer:1")


def test_points_have_the_names_of_tensorboard_and_no_gaps_as_numbers() -> None:
    step = {"kind": "step", "step": 3, "epoch": 1, "loss": 0.5, "lr": 0.1, "grad_norm": None}
    assert points(step) == {"train/loss": 0.5, "train/lr": 0.1}
    epoch = {"kind": "epoch", "step": 9, "epoch": 1, "train_loss": 0.4, "split": "test", "loss": 0.3, "accuracy": 1.0}
    assert points(epoch) == {"train/epoch_loss": 0.4, "test/loss": 0.3, "test/accuracy": 1.0}
    assert final_points({"metrics": {"split": "test", "loss": 0.3, "auc": None}}) == {"final/loss": 0.3}


def test_parameters_are_what_stays_the_same_in_a_run() -> None:
    train = {
        "epochs": 3,
        "logging": {"every_steps": 1},
        "batch_size": 64,
        "clip_grad_norm": None,
        "model": {"name": "mlp", "hidden": [32, 16], "args": {}},
        "loss": {"weights": {"a cat, or two": 2.0, "dog": 1.0}},
        "deterministic": False,
    }
    assert parameters(train) == {
        "batch_size": "64",
        "model.name": "mlp",
        "model.hidden": "[32, 16]",
        "model.args": "{}",
        "loss.weights": '{"a cat, or two": 2.0, "dog": 1.0}',
        "deterministic": "false",
    }


def test_tags_say_whose_run_it_is_and_what_it_runs_on() -> None:
    run = {"job": "digits", "namespace": "local", "digest": "d", "image": None, "versions": {"torch": "2"}}
    assert tags({**run, "train": {"epochs": 3}}, {"attempt": 2, "ranks": 4, "pid": 1}) == {
        "mlflow.source.name": "local/digits",
        "mlflow.source.type": "JOB",
        "pytorchjob.job": "digits",
        "pytorchjob.namespace": "local",
        "pytorchjob.digest": "d",
        "pytorchjob.attempt": "2",
        "pytorchjob.ranks": "4",
        "pytorchjob.epochs": "3",
        "pytorchjob.version.torch": "2",
    }


def test_how_an_attempt_ended_in_the_words_of_mlflow() -> None:
    assert [status(end) for end in (0, 143, 3, 137, None)] == ["FINISHED", "KILLED", "FAILED", "FAILED", "FAILED"]


def _line(step: int, text: str = "") -> bytes:
    return json.dumps({"step": step, "text": text}).encode() + b"\n"


def _steps(file: GrowingFile) -> list[Any]:
    return [line["step"] for line in file.new_lines()]


def test_a_growing_file_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = GrowingFile(path)
    assert _steps(file) == []
    path.write_bytes(_line(1) + _line(2)[:5])
    assert _steps(file) == [1]
    path.write_bytes(_line(1) + _line(2) + _line(3))
    assert _steps(file) == [2, 3]
    assert _steps(file) == []


def test_a_file_that_was_cut_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = GrowingFile(path)
    path.write_bytes(_line(1) + _line(2))
    assert _steps(file) == [1, 2]
    path.write_bytes(_line(1))
    assert _steps(file) == [1]
    path.write_bytes(_line(1, "longer") + _line(2, "longer"))  # cut again, and longer again before anybody looked
    assert _steps(file) == [1, 2]


def test_what_is_no_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("no json\n")
    with pytest.raises(ValueError, match="Expecting value"):
        GrowingFile(tmp_path / "metrics.jsonl").new_lines()


def test_passwords_of_a_store_are_not_shown() -> None:
    assert without_password("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert without_password("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://me:secret@host", "must hold no user name or password; set MLFLOW_TRACKING_USERNAME"),
        ("results/mlflow", "must begin with https://, http:// or sqlite:///"),
        ("ftp://host", "must begin with https://, http:// or sqlite:///"),
        ("https://", "must begin with https://, http:// or sqlite:///"),
        ("sqlite:///mlflow.db", "an SQLite file needs an absolute path"),
    ],
)
def test_a_store_that_cannot_be_is_refused_without_repeating_a_password(uri: str, message: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        load(("train.logging.mlflow", f"{{tracking_uri: '{uri}'}}"))
    assert f"train.logging.mlflow.tracking_uri: {message}" in caught.value.message
    assert "secret" not in caught.value.message


def test_logging_to_mlflow_makes_no_other_job() -> None:
    assert digest(load(("train.logging.mlflow", "{experiment: e, tracking_uri: 'https://host'}"))) == digest(load())


def test_a_process_that_cannot_be_started_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec = load(("train.logging.mlflow", "{}"))
    assert spec.train
    run = RunFile(job="digits", namespace="local", digest="d", spec={}, train=spec.train)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with beside.logging_to_mlflow(run, tmp_path):
        trained = True
    assert trained
    assert "the process that logs to it cannot be started" in caplog.text
    assert f"do that with: python -m trainer mlflow {tmp_path}" in caplog.text


def test_without_mlflow_the_trainer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"train.logging.mlflow: mlflow cannot .*\ninstall pytorchjob-launcher\[mlf"):
        beside.check_installed("https://host")
    with pytest.raises(ConfigError, match="mlflow and sqlalchemy and alembic cannot be imported here"):
        beside.check_installed("sqlite:////data/mlflow.db")
