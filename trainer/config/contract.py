"""Names that the trainer and the launcher must agree on: the run file, the results folder, the progress line."""

from typing import Any

from trainer.config.base import Config
from trainer.config.train import Train

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
REPORT_FILE = "report.html"
PREDICTIONS_DIR = "predictions"
EXPORTS_DIR = "exports"

# The namespace of jobs that run without a cluster.
LOCAL_NAMESPACE = "local"

# Rank 0 prints one line every few seconds: this tag, a space, a JSON object.
PROGRESS_TAG = "@progress"


class RunFile(Config):
    """The one file a trainer reads: the training configuration and who it belongs to."""

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
    train: Train
    """What to train."""
