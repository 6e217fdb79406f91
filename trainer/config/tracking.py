"""Where else the numbers of a run go."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from trainer.config.base import Config

SCHEMES = ("http", "https", "sqlite")


class MLflow(Config):
    """Also log to MLflow. What it lacks after a restart or an outage is sent later, each step once."""

    tracking_uri: Annotated[str, Field(min_length=1)] | None = None
    """A server (https://mlflow.example.com), or an SQLite file (sqlite:////absolute/path.db). It holds no password:
    give that in `env`, as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or as MLFLOW_TRACKING_TOKEN. Default:
    MLFLOW_TRACKING_URI where that is set, else the file `mlflow/mlflow.db` in the results folder."""
    experiment: Annotated[str, Field(min_length=1, max_length=500)] = "Default"
    """Experiment that the run belongs to; made where there is none of this name."""
    run_name: Annotated[str, Field(min_length=1, max_length=250)] | None = None
    """Name that MLflow shows for the run. Default: the job's."""
    artifacts: bool = False
    """Also send report.html and the plots, once the run is done."""

    @model_validator(mode="after")
    def _uri(self) -> Self:
        if self.tracking_uri is None:
            return self
        scheme, _, rest = self.tracking_uri.partition("://")
        if scheme not in SCHEMES or not rest:
            raise ValueError("tracking_uri: must begin with https://, http:// or sqlite:///, and name what follows")
        if scheme == "sqlite" and not rest.startswith("//"):
            raise ValueError("tracking_uri: an SQLite file needs an absolute path: sqlite:////path/to/mlflow.db")
        if "@" in urlsplit(self.tracking_uri).netloc:
            raise ValueError(
                "tracking_uri: must hold no user name or password; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in env, from a Secret"
            )
        return self
