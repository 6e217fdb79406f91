"""Keeps an MLflow store up to date with a results folder, through outages of the store."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from trainer.config.contract import RUN_FILE
from trainer.config.tracking import MLflow
from trainer.exits import ConfigError
from trainer.output.attempts import newest_attempt
from trainer.tracking.mlflow_store import TrackedJob, store_of, without_password

INTERVAL_SECONDS = 3.0
LONGEST_PAUSE_SECONDS = 60.0

log = logging.getLogger(__name__)


class Follower:
    """Sends what a results folder has and the store lacks; failures are said once and are otherwise no matter."""

    def __init__(self, config: MLflow, folder: Path, *, training: bool) -> None:
        self._config = config
        self._folder = folder.absolute()
        self._training = training
        self._job: TrackedJob | None = None
        self._failing = False

    def follow(self, over: Callable[[float], bool]) -> bool:
        """Send new lines until ``over``, which waits so many seconds, says that the job has ended; then all the rest.

        Returns:
            Whether everything has been sent.
        """
        pause = INTERVAL_SECONDS
        while not over(pause):
            pause = INTERVAL_SECONDS if self.send() else min(2 * pause, LONGEST_PAUSE_SECONDS)
        return self.send(finish=True)

    def send(self, *, finish: bool = False) -> bool:
        """Send what is missing; whether that succeeded."""
        if newest_attempt(self._folder) == 0:
            return True
        try:
            self._job = self._job or TrackedJob(self._config, self._folder, training=self._training)
            self._job.finish() if finish else self._job.send_lines()
        except Exception as error:  # noqa: BLE001 - whatever a store, a driver or the network raises: training goes on
            self._job = None
            self._warn(error)
            return False
        if self._failing:
            log.info("MLflow: %s is there again, and has everything", self.store)
        self._failing = False
        return True

    @property
    def store(self) -> str:
        """Where it is sent to, without a password."""
        return without_password(store_of(self._config, self._folder))

    def _warn(self, error: Exception) -> None:
        if not self._failing:
            uri = store_of(self._config, self._folder)
            lines = str(error).replace(uri, self.store).splitlines() or [""]
            log.warning("MLflow: cannot log to %s: %s: %s", self.store, type(error).__name__, lines[0][:500])
            if self._training:
                log.warning("MLflow: training goes on, and what is missing is sent once the store is there again")
        self._failing = True


def configured(folder: Path, *, tracking_uri: str | None = None, experiment: str | None = None) -> MLflow:
    """What the job of a results folder says of MLflow, or its defaults, with what is given here instead.

    Raises:
        ConfigError: It is no folder of a training, or what is given is not valid.
    """
    try:
        run = json.loads((folder / RUN_FILE).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{folder}: no results folder of a job; {RUN_FILE} is missing") from error
    if "train" not in run:
        raise ConfigError(f"{folder}: these are results of a script, which logs to MLflow itself")
    given = {"tracking_uri": tracking_uri, "experiment": experiment}
    settings = (run["train"]["logging"].get("mlflow") or {}) | {k: v for k, v in given.items() if v is not None}
    try:
        return MLflow.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("\n".join(problem["msg"] for problem in error.errors(include_url=False))) from error
