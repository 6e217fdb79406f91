"""A results folder in a real MLflow store, an SQLite file: each step once, whatever happened on the way."""

import importlib.util
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_points import expected_points, rows, stored_points
from tests.sample_results import metrics_lines, run_facts, summary_of
from trainer.config.tracking import MLflow
from trainer.exits import ConfigError
from trainer.tracking import mlflow_store
from trainer.tracking.follow import Follower, configured

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("mlflow") is None,
        reason="MLflow logging is not tested: pip install 'pytorchjob-launcher[mlflow]'",
    ),
    pytest.mark.filterwarnings("ignore"),  # what MLflow and its dependencies say of each other
]
STARTED = "2026-11-25T12:00:00.000+00:00"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as MLflow makes it, which takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_store.SETTINGS.items():
            patch.setenv(name, value)
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


class Results:
    """A results folder that grows, and its store."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.store = store
        self.lines = metrics_lines()
        (folder / "attempts").mkdir(parents=True)
        run = run_facts("tiny", logging={"every_steps": 1, "mlflow": {"tracking_uri": f"sqlite:///{store}"}})
        (folder / "run.json").write_text(json.dumps(run))
        self.attempt(1)

    def attempt(self, number: int, code: int | None = None) -> None:
        end = None if code is None else {"code": code, "ended": "2026-11-25T12:00:09.000+00:00"}
        record = {"attempt": number, "ranks": 2, "started": STARTED, "end": end}
        (self.folder / "attempts" / f"{number:04d}.json").write_text(json.dumps(record))

    def write(self, count: int, *, folder: Path | None = None) -> None:
        """Make metrics.jsonl the first ``count`` lines."""
        text = "".join(json.dumps(line) + "\n" for line in self.lines[:count])
        ((folder or self.folder) / "metrics.jsonl").write_text(text)

    def succeed(self) -> None:
        self.attempt(1, code=0)
        (self.folder / "summary.json").write_text(json.dumps(summary_of(3)))

    def follower(self, **settings: Any) -> Follower:
        config = configured(self.folder)
        return Follower(config.model_copy(update=settings), self.folder, training=True)

    def runs(self) -> list[tuple[Any, ...]]:
        return rows(self.store, "SELECT name, status, start_time, end_time FROM runs ORDER BY name")


@pytest.fixture
def results(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    for name, value in mlflow_store.SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Results(tmp_path / "results", tmp_path / "mlflow.db")


def test_a_run_has_each_step_once_its_parameters_and_its_end(results: Results) -> None:
    follower = results.follower()
    for count in (5, 30, 63):
        results.write(count)
        assert follower.send()
    assert results.runs() == [("tiny", "RUNNING", 1_795_608_000_000, None)]
    assert stored_points(results.store) == expected_points(results.folder)
    assert len(stored_points(results.store)) == 59 * 3 + 1 * 2 + 3 * 4, "one step had no gradient norm"
    results.succeed()
    assert follower.send(finish=True)
    assert results.runs() == [("tiny", "FINISHED", 1_795_608_000_000, 1_795_608_009_000)]
    final = dict(rows(results.store, "SELECT key, value FROM metrics WHERE key LIKE 'final/%' AND step = 60"))
    assert final == {f"final/{k}": v for k, v in summary_of(3)["metrics"].items() if k != "split"}
    parameters = dict(rows(results.store, "SELECT key, value FROM params"))
    assert (parameters["optimizer.lr"], parameters["model.hidden"]) == ("0.003", "[128]")
    tags = dict(rows(results.store, "SELECT key, value FROM tags"))
    assert (tags["pytorchjob.epochs"], tags["pytorchjob.ranks"]) == ("3", "2")


def test_a_follower_that_was_killed_is_replaced_without_a_step_twice(results: Results) -> None:
    results.write(40)
    assert results.follower().send()
    results.write(25)  # cut to the checkpoint
    results.attempt(2)
    second = results.follower()
    assert second.send()
    results.write(63)
    assert second.send()
    assert stored_points(results.store) == expected_points(results.folder)
    assert len(results.runs()) == 1


def test_a_reply_that_was_lost_makes_no_step_twice(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    log_batch, calls = MlflowClient.log_batch, []

    def lost(client: Any, *args: Any, **entities: Any) -> None:
        log_batch(client, *args, **entities)
        calls.append(entities)
        if "metrics" in entities and len(calls) < 6:
            raise ConnectionError("the reply was lost")

    monkeypatch.setattr(MlflowClient, "log_batch", lost)
    monkeypatch.setattr(mlflow_store, "METRICS_AT_ONCE", 20)
    results.write(63)
    follower = results.follower()
    assert [follower.send() for _ in range(3)] == [False, False, True]
    assert stored_points(results.store) == expected_points(results.folder)


def test_a_store_that_is_away_is_said_once_and_gets_everything_later(
    results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    results.write(30)
    aside = results.store.rename(results.store.with_suffix(".aside"))
    results.store.mkdir()
    follower = results.follower()
    assert not follower.send()
    assert not follower.send()
    uri = f"sqlite:///{results.store}"
    said = [record.getMessage() for record in caplog.records if record.name.startswith("trainer")]
    assert [message.split(": ")[1] for message in said] == [
        f"cannot log to {uri}",
        "training goes on, and what is missing is sent once the store is there again",
    ]
    results.store.rmdir()
    aside.rename(results.store)
    results.write(63)
    assert follower.send()
    assert f"MLflow: {uri} is there again, and has everything" in caplog.messages
    assert stored_points(results.store) == expected_points(results.folder)


def test_a_password_in_the_environment_stays_out_of_the_log(
    results: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert not results.follower(tracking_uri=None).send()
    assert "MLflow: cannot log to http://127.0.0.1:9: " in caplog.text
    assert "secret" not in caplog.text


def test_each_fold_is_a_run_below_the_jobs(results: Results) -> None:
    for fold, count in ((0, 63), (1, 10)):
        (results.folder / "folds" / str(fold)).mkdir(parents=True)
        results.write(count, folder=results.folder / "folds" / str(fold))
    (results.folder / "folds" / "2").mkdir()  # has not begun
    assert results.follower().send()
    assert [run[0] for run in results.runs()] == ["fold 0", "fold 1", "tiny"]
    parents = "SELECT r.name FROM tags t JOIN runs r ON r.run_uuid = t.value WHERE t.key = 'mlflow.parentRunId'"
    assert rows(results.store, parents) == [("tiny",), ("tiny",)]
    (results.folder / "folds" / "0" / "summary.json").write_text(json.dumps(summary_of(3)))
    results.attempt(1, code=138)
    assert results.follower().send(finish=True)
    assert [run[:2] for run in results.runs()] == [("fold 0", "FINISHED"), ("fold 1", "FAILED"), ("tiny", "FAILED")]
    for fold in (0, 1):
        folder = results.folder / "folds" / str(fold)
        assert stored_points(results.store, run_name=f"fold {fold}") == expected_points(folder)


def test_a_run_that_failed_and_goes_on_is_the_same_run(results: Results) -> None:
    results.write(20)
    results.attempt(1, code=138)
    assert results.follower().send(finish=True)
    assert results.runs()[0][:2] == ("tiny", "FAILED")
    results.attempt(2)
    assert results.follower(run_name="another name").send()
    assert [run[:2] for run in results.runs()] == [("tiny", "RUNNING")]


def test_report_and_plots_are_sent_where_that_is_asked_for(results: Results) -> None:
    results.write(63)
    results.succeed()
    (results.folder / "plots").mkdir()
    (results.folder / "plots" / "roc_curves.png").write_bytes(b"png")
    (results.folder / "report.html").write_text("<html>")
    assert results.follower(artifacts=True, experiment="plots").send(finish=True)
    [(place,)] = rows(results.store, "SELECT artifact_uri FROM runs")
    assert sorted(p.name for p in Path(place).rglob("*.*")) == ["report.html", "roc_curves.png"]


def test_without_a_store_the_folder_has_one(
    results: Results, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.write(63)
    own = results.folder / "mlflow" / "mlflow.db"
    own.parent.mkdir()
    shutil.copy(empty_store, own)
    (own.parent / ".tmp-half.db").write_text("of a process that was killed as it made the tables")
    assert results.follower(tracking_uri=None).send()
    assert stored_points(own) == expected_points(results.folder)
    assert [path.name for path in own.parent.iterdir()] == ["mlflow.db"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no results folder of a job; run.json is missing"):
        configured(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"command": ["train.py"]}))
    with pytest.raises(ConfigError, match="results of a script, which logs to MLflow itself"):
        configured(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"train": {"logging": {"every_steps": 1}}}))
    with pytest.raises(ConfigError, match="tracking_uri: must begin with https"):
        configured(tmp_path, tracking_uri="mlruns")
    assert configured(tmp_path, experiment="digits") == MLflow(experiment="digits")
