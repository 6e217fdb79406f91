"""Names that the trainer and the launcher must agree on: the run file, the results folder, the progress line."""

from functools import cache
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, TypeAdapter

from trainer.config.base import Config
from trainer.config.train import Restarts, Train

# What lands in <results>/<namespace>/<job>/, relative to that folder.
RUN_FILE = "run.json"
SUMMARY_FILE = "summary.json"
METRICS_FILE = "metrics.jsonl"
TIMING_FILE = "timing.jsonl"
ATTEMPTS_DIR = "attempts"
CHECKPOINTS_DIR = "checkpoints"
BEST_FILE = "checkpoints/best.json"
LOGS_DIR = "logs"
PLOTS_DIR = "plots"
TENSORBOARD_DIR = "tensorboard"
MLFLOW_DIR = "mlflow"
REPORT_FILE = "report.html"
PREDICTIONS_DIR = "predictions"
EVALUATION_FILE = "evaluation.json"
WORST_FILE = "predictions/worst.json"
WORST_DIR = "predictions/worst"
EXPORTS_DIR = "exports"
FOLDS_DIR = "folds"
SPLITS_FILE = "folds/splits.csv"

# The namespace of jobs that run without a cluster.
LOCAL_NAMESPACE = "local"

# Rank 0 prints one line every few seconds: this tag, a space, a JSON object with at least "step" and "steps".
PROGRESS_TAG = "@progress"


class RunIdentity(Config):
    """Who a run belongs to."""

    job: str
    """Name of the job."""
    namespace: str
    """Kubernetes namespace, or "local"."""
    digest: str
    """Digest of the job's spec (see launcher.job.digest); a results folder belongs to one digest."""
    spec: dict[str, Any]
    """The job's spec as submitted, for the record and for field diffs."""
    image: str | None = None
    """Container image, by digest where it was resolved."""


class RunFile(RunIdentity):
    """The one file a trainer reads: the training configuration and who it belongs to."""

    train: Train
    """What to train."""


class CommandFile(RunIdentity):
    """The same for a script of the user's own, which is started once a rank."""

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """A script and its arguments, or -m, a module and its arguments."""
    restarts: Restarts = Restarts()
    """How often crashed ranks are tried again."""


def parse_run_file(content: bytes | str) -> RunFile | CommandFile:
    """The run file in ``content``, of whichever kind it is.

    Raises:
        pydantic.ValidationError: It is neither.
    """
    return _any_run_file().validate_json(content)


def _kind(value: Any) -> str:
    return "command" if isinstance(value, CommandFile) or (isinstance(value, dict) and "command" in value) else "train"


@cache
def _any_run_file() -> TypeAdapter[RunFile | CommandFile]:
    """Made when it is needed: the launcher imports this module each time, and reads no run file."""
    return TypeAdapter(
        Annotated[Annotated[RunFile, Tag("train")] | Annotated[CommandFile, Tag("command")], Discriminator(_kind)]
    )
