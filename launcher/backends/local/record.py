"""What lies in a local job's folder: the launcher's own record, and what the trainer writes that the launcher reads."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from launcher.backends.local import files
from launcher.errors import LauncherError
from trainer.config.contract import ATTEMPTS_DIR, LOGS_DIR, RUN_FILE, SUMMARY_FILE

RECORD_FILE = "job.json"
SUBMITTED_FILE = "submitted.json"


class _Read(BaseModel):
    """A value read from disk: another version may have added keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")


ModelT = TypeVar("ModelT", bound=_Read)


class JobRecord(_Read):
    """One submission: who was started, for what, and when."""

    schemaVersion: Literal[1] = 1  # noqa: N815  the key that every JSON of the launcher carries
    name: str
    digest: str
    spec: dict[str, Any]
    ranks: int
    pid: int
    process_started: float
    """Creation time of the process (psutil, seconds): tells it from a later one with the same pid."""
    submitted: AwareDatetime
    directory: str | None = None
    """Where it was submitted from, and where a script of its own is looked for."""
    cancelled: bool = False
    suspended: bool = False
    attempts_before: int = 0
    """Attempts up to this number belong to earlier submissions."""
    log_before: int = 0
    """Size of supervisor.log at the start (bytes): what follows belongs to this submission."""


class AttemptEnd(_Read):
    """How an attempt ended, as the trainer's supervisor recorded it."""

    code: int
    cause: str = ""
    rank: int | None = None
    exception: str | None = None
    lines: tuple[str, ...] = ()
    ended: datetime | None = None


class Attempt(_Read):
    """One start of all ranks, as the trainer's supervisor recorded it."""

    attempt: int
    pid: int
    process_started: float
    started: AwareDatetime
    ranks: int
    nodes: int = 1
    end: AttemptEnd | None = None


@dataclass(frozen=True)
class Origin:
    """Which run a results folder belongs to."""

    digest: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class JobFolder:
    """A job's results folder; the record in it exists from submit to delete."""

    path: Path

    @property
    def supervisor_log(self) -> Path:
        """Where the supervisor's stdout and stderr go."""
        return self.path / LOGS_DIR / "supervisor.log"

    @property
    def submitted_file(self) -> Path:
        """The run file of the newest submission."""
        return self.path / SUBMITTED_FILE

    def rank_logs(self, attempt: int) -> dict[int, Path]:
        """The ranks' logs of ``attempt``, by rank."""
        found = (self.path / LOGS_DIR / f"attempt-{attempt}").glob("rank-*.log")
        by_rank = {int(rank): path for path in found if (rank := path.stem.removeprefix("rank-")).isdigit()}
        return dict(sorted(by_rank.items()))

    def record(self) -> JobRecord | None:
        """The launcher's record; None before the first submit and after delete."""
        return self._read(JobRecord, self.path / RECORD_FILE)

    def write_record(self, record: JobRecord) -> None:
        """Replace the launcher's record."""
        files.write_text(self.path / RECORD_FILE, record.model_dump_json(indent=2) + "\n")

    def remove_record(self) -> None:
        """Forget the job; everything else stays."""
        (self.path / RECORD_FILE).unlink(missing_ok=True)

    def origin(self) -> Origin | None:
        """The run that this folder belongs to; None when nothing was ever submitted into it."""
        for name in (SUBMITTED_FILE, RUN_FILE, RECORD_FILE):
            content = files.read_object(self.path / name)
            if content is not None and isinstance(content.get("spec"), dict) and content.get("digest"):
                return Origin(digest=str(content["digest"]), spec=content["spec"])
        return None

    def rebuilt_record(self) -> JobRecord | None:
        """A record made from what the trainer left, for a job that was deleted; None when it was never started."""
        origin, newest = self.origin(), self.attempt(self.newest_attempt())
        if origin is None or newest is None:
            return None
        return JobRecord(
            name=self.path.name,
            digest=origin.digest,
            spec=origin.spec,
            ranks=newest.ranks,
            pid=newest.pid,
            process_started=newest.process_started,
            submitted=newest.started,
            attempts_before=newest.attempt - 1,
        )

    def newest_attempt(self) -> int:
        """The highest attempt number; 0 when there is none."""
        names = (self.path / ATTEMPTS_DIR).glob("[0-9]*.json")
        return max((int(path.stem) for path in names if path.stem.isdigit()), default=0)

    def attempt(self, number: int) -> Attempt | None:
        """The attempt with this number."""
        return self._read(Attempt, self.path / ATTEMPTS_DIR / f"{number:04d}.json")

    def summary(self) -> dict[str, Any] | None:
        """summary.json, which the trainer writes last and only on success."""
        return files.read_object(self.path / SUMMARY_FILE)

    @staticmethod
    def _read(model: type[ModelT], path: Path) -> ModelT | None:
        content = files.read_object(path)
        if content is None:
            return None
        try:
            return model.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise LauncherError(
                f"{path}: {where}: {first['msg']}\nrepair or remove that file, then try again"
            ) from error
