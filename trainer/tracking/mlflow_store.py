"""A job's run in an MLflow store. The one module that knows MLflow's client."""

import json
import logging
import os
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainer.config.contract import (
    ATTEMPTS_DIR,
    FOLDS_DIR,
    METRICS_FILE,
    MLFLOW_DIR,
    PLOTS_DIR,
    REPORT_FILE,
    RUN_FILE,
    SUMMARY_FILE,
)
from trainer.config.tracking import MLflow
from trainer.exits import Exit
from trainer.output.attempts import newest_attempt
from trainer.output.storage import make_directory, remove_temporaries, replacing
from trainer.tracking.content import final_points, parameters, points, status, tags
from trainer.tracking.growing_file import GrowingFile

# What a server takes in one request.
METRICS_AT_ONCE = 1000
PARAMETERS_AT_ONCE = 100
# A folder's run is found again by this tag; it is all that ties one to the other.
KEY_TAG = "pytorchjob.run"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # failures are told once, by the follower
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the follower tries again by itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",  # seconds
}


def store_of(config: MLflow, folder: Path) -> str:
    """The URI of the store: the configuration's, else MLFLOW_TRACKING_URI, else a file in the results ``folder``."""
    return config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_own_file(folder)}"


def without_password(uri: str) -> str:
    """``uri`` as it may be shown."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def _own_file(folder: Path) -> Path:
    return folder.absolute() / MLFLOW_DIR / "mlflow.db"


class TrackedFolder:
    """A run that is given what a results folder has, the job's or a fold's, and the store lacks.

    Every metric is sent in the order of its steps, so what the store lacks are the steps after its last one. After a
    failure nobody knows what arrived: take a new object.
    """

    def __init__(self, client: Any, run: Any, folder: Path) -> None:
        self._client = client
        self.run_id: str = run.info.run_id
        self._status: str = run.info.status
        self._file = GrowingFile(folder / METRICS_FILE)
        self._folder = folder
        # The steps of the last points are in no public attribute; MLflow goes on with its system metrics by this, too.
        self._last_steps = {metric.key: metric.step for metric in run.data._metric_objs}
        self._parameters = set(run.data.params)

    def describe(self, run: dict[str, Any], attempt: dict[str, Any]) -> None:
        """Send parameters that are missing, and the tags."""
        from mlflow.entities import Param, RunTag

        new = {name: value for name, value in parameters(run["train"]).items() if name not in self._parameters}
        self._parameters |= set(new)
        entities = [Param(name, value) for name, value in new.items()]
        for start in range(0, len(entities), PARAMETERS_AT_ONCE):
            self._client.log_batch(self.run_id, params=entities[start : start + PARAMETERS_AT_ONCE])
        self._client.log_batch(self.run_id, tags=[RunTag(*tag) for tag in tags(run, attempt).items()])

    def send_lines(self) -> None:
        """Send the new lines of metrics.jsonl."""
        lines = self._file.new_lines()
        self._send([(name, value, line["step"]) for line in lines for name, value in points(line).items()])

    def finish(self, end: int | None, ended: int | None, *, artifacts: bool) -> None:
        """Send what there is at the end.

        Args:
            end: Exit code of the job's last attempt, None where it left none. A fold may be done all the same.
            ended: When, in ms since 1970.
            artifacts: Whether files are sent, too.
        """
        done = (self._folder / SUMMARY_FILE).exists()
        if done:
            summary = json.loads((self._folder / SUMMARY_FILE).read_text())
            self._send([(name, value, summary["steps"]) for name, value in final_points(summary).items()])
        if done and artifacts:
            self._client.log_artifact(self.run_id, str(self._folder / REPORT_FILE))
            self._client.log_artifacts(self.run_id, str(self._folder / PLOTS_DIR), PLOTS_DIR)
        self._client.set_terminated(self.run_id, status(Exit.DONE if done else end), ended)

    def goes_on(self) -> None:
        """Say that the run is being trained, where an earlier attempt had ended."""
        if self._status != "RUNNING":
            self._client.update_run(self.run_id, status="RUNNING")

    def _send(self, found: list[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now, new = int(time.time() * 1000), []
        for name, value, step in found:
            if step > self._last_steps.get(name, -1):
                self._last_steps[name] = step
                new.append(Metric(name, value, now, step))
        for start in range(0, len(new), METRICS_AT_ONCE):
            self._client.log_batch(self.run_id, metrics=new[start : start + METRICS_AT_ONCE])


class TrackedJob:
    """The run of a job, and a run below it for each fold."""

    def __init__(self, config: MLflow, folder: Path, *, training: bool) -> None:
        """Find the run of the results ``folder``, or make it; ``training`` says whether its job runs now."""
        self._config = config
        self._folder = folder
        self._client = _client(config, folder)
        self._experiment = self._experiment_id()
        self._job = self._find_or_create(folder, name=config.run_name or self._run["job"])
        self._folds: dict[int, TrackedFolder] = {}
        if training:
            self._job.goes_on()
        self._job.describe(self._run, self._attempt(newest_attempt(folder)))

    @property
    def _run(self) -> dict[str, Any]:
        run: dict[str, Any] = json.loads((self._folder / RUN_FILE).read_text())
        return run

    def _attempt(self, number: int) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self._folder / ATTEMPTS_DIR / f"{number:04d}.json").read_text())
        return record

    def _experiment_id(self) -> str:
        known = self._client.get_experiment_by_name(self._config.experiment)
        found: str = known.experiment_id if known else self._client.create_experiment(self._config.experiment)
        return found

    def _find_or_create(self, folder: Path, *, name: str, part: str = "", parent: str | None = None) -> TrackedFolder:
        """The run of a folder, which is named by when the job's first attempt began: a moved folder keeps its run."""
        run, begun = self._run, self._attempt(1)["started"]
        key = f"{run['namespace']}/{run['job']}{part} {begun}"
        of_folder = f"tags.`{KEY_TAG}` = '{key}'"
        known = self._client.search_runs([self._experiment], of_folder, max_results=1)
        if known:
            return TrackedFolder(self._client, known[0], folder)
        named = {KEY_TAG: key, **({"mlflow.parentRunId": parent} if parent else {})}
        created = self._client.create_run(self._experiment, _milliseconds(begun), tags=named, run_name=name)
        return TrackedFolder(self._client, created, folder)

    def send_lines(self) -> None:
        """Send what was written since the last call."""
        self._look_for_folds()
        for tracked in (self._job, *self._folds.values()):
            tracked.send_lines()

    def _look_for_folds(self) -> None:
        for path in (self._folder / FOLDS_DIR).glob("[0-9]*"):
            number = int(path.name)
            if number not in self._folds and (path / METRICS_FILE).exists():
                part, parent = f"/fold-{number}", self._job.run_id
                self._folds[number] = self._find_or_create(path, name=f"fold {number}", part=part, parent=parent)

    def finish(self) -> None:
        """Send all that is there once the job has ended, and how that was."""
        self.send_lines()
        attempt = self._attempt(newest_attempt(self._folder))
        end = attempt["end"] or {}
        self._job.describe(self._run, attempt)
        for tracked in (*self._folds.values(), self._job):
            code, ended = end.get("code"), end.get("ended")
            tracked.finish(code, _milliseconds(ended) if ended else None, artifacts=self._config.artifacts)


def _milliseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def _client(config: MLflow, folder: Path) -> Any:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of each request that it repeats
    from mlflow import MlflowClient

    uri, own = store_of(config, folder), _own_file(folder)
    if uri == f"sqlite:///{own}":
        os.chdir(make_directory(own.parent))  # where MLflow puts the artifacts of a database's runs
        remove_temporaries(own.parent)
        if not own.exists():  # making the tables takes seconds, and half of them would be of no use
            with replacing(own) as temporary:
                MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
    if uri.startswith("sqlite:///"):
        _try_file(Path(uri.removeprefix("sqlite:///").partition("?")[0]))
    return MlflowClient(uri)


def _try_file(path: Path) -> None:
    """Fail at once where an SQLite file cannot be used; MLflow's client would try for 100 s."""
    make_directory(path.parent)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA schema_version")
