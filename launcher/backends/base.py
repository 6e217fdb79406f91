"""The protocol of a backend, and the values that pass through it."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

from launcher.job.placement import Placement
from launcher.job.spec import JobSpec


class State(StrEnum):
    """Where a job stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens unless somebody submits again."""
        return self not in (State.PENDING, State.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The newest progress line of rank 0; a script of the user's own need not tell more than its steps."""

    step: int
    steps: int
    epoch: int | None
    epochs: int | None
    loss: float | None
    samples_per_second: float | None
    eta_seconds: float | None
    attempt: int | None = None
    """The attempt that it belongs to."""
    fold: int | None = None
    """Of a cross-validation, the fold that steps and epochs belong to, from 1."""
    folds: int | None = None
    """How many folds there are."""


def read_progress(text: str | bytes) -> Progress | None:
    """The progress in the JSON of a progress line; None where it names no step.

    A script of the user's own may print anything, and a status must not fail on it: only numbers are taken.
    """
    try:
        seen = json.loads(text)
        step, steps = _count(seen, "step"), _count(seen, "steps")
        if step is None or steps is None:
            return None
        return Progress(
            step=step,
            steps=steps,
            epoch=_count(seen, "epoch"),
            epochs=_count(seen, "epochs"),
            loss=_number(seen, "loss"),
            samples_per_second=_number(seen, "samples_per_second"),
            eta_seconds=_number(seen, "eta_seconds"),
            attempt=_count(seen, "attempt"),
            fold=_count(seen, "fold"),
            folds=_count(seen, "folds"),
        )
    except (ValueError, AttributeError, OverflowError, RecursionError):
        return None


def _number(seen: Any, key: str) -> float | None:
    value = seen.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _count(seen: Any, key: str) -> int | None:
    value = _number(seen, key)
    return None if value is None else int(value)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What the trainer recorded about its end: the earliest cause that is not a consequence of another."""

    cause: str
    """The cause in words."""
    rank: int | None
    """The rank that failed first, where one is to blame."""
    exception: str | None
    """Type and text of its exception."""
    lines: tuple[str, ...]
    """The last lines it wrote."""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """All that is known of a job at one moment."""

    name: str
    namespace: str
    backend: Literal["local", "kubernetes"]
    state: State
    ranks: int
    nodes: int
    attempt: int
    """How often the job was started (submissions and in-place restarts), 0 before the first."""
    submitted: datetime
    ended: datetime | None
    exit_code: int | None
    """The trainer's exit code, once over."""
    reason: str
    """One line on why the state is what it is; empty when there is nothing to say."""
    results: str
    """Folder of the results."""
    progress: Progress | None
    advice: str = ""
    """What to do about it, in a line or two; empty when there is nothing to do."""
    failure: Failure | None = None
    """Details of a failed job, where its end was recorded."""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of one rank's log."""

    source: str
    """Such as "rank 0", "supervisor" or "worker-1"."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a submit did."""

    outcome: Literal["created", "resumed", "unchanged", "already done"]
    status: JobStatus


@dataclass(frozen=True, kw_only=True)
class Results:
    """A job's results folder, read."""

    path: str
    summary: dict[str, Any] | None
    """summary.json; None until the job has succeeded."""
    files: tuple[str, ...]
    """Paths relative to the folder, sorted."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy of a results folder holds."""

    files: int
    bytes: int


class Backend(Protocol):
    """Runs jobs. Every method raises launcher.errors.JobNotFound for a name it does not know."""

    def place(self, spec: JobSpec) -> Placement:
        """Split the job by the nodes that its file states, or else by what the backend knows of its own."""

    def submit(self, spec: JobSpec, placement: Placement, *, fresh: bool) -> Submission:
        """Start or continue the job, or find that there is nothing to do."""

    def get(self, name: str) -> JobStatus:
        """The job's status now."""

    def list(self, *, all_namespaces: bool = False) -> tuple[JobStatus, ...]:
        """All jobs, newest first."""

    def watch(self, name: str) -> Iterator[JobStatus]:
        """A status at once and at each change, ending after one that is over."""

    def logs(self, name: str, *, follow: bool, rank: int | None, tail: int | None) -> Iterator[LogLine]:
        """Lines of the newest attempt, all ranks merged; with ``follow`` until the job is over."""

    def cancel(self, name: str, *, grace_seconds: float) -> JobStatus:
        """Stop with a checkpoint; the job can be submitted again to go on."""

    def suspend(self, name: str, *, grace_seconds: float) -> JobStatus:
        """Stop with a checkpoint for now; `resume` goes on."""

    def resume(self, name: str) -> Submission:
        """Go on with a job that was suspended or cancelled, as it was submitted."""

    def delete(self, name: str, *, grace_seconds: float) -> str:
        """Stop and forget the job; where its results stay."""

    def results(self, name: str) -> Results:
        """The results folder."""

    def local_copy(self, name: str, path: str) -> Path | None:
        """A file of the results folder on this machine: itself or a copy; None where there is none of that name."""

    def fetch(self, name: str, folder: Path) -> Copied:
        """Copy the results folder's files into ``folder``, replacing those of the same names."""
