"""LocalBackend: jobs as supervised processes of this machine, their state read from the results folder."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import click
from pydantic import ValidationError

from launcher.backends.base import Copied, JobStatus, LogLine, Results, State, Submission
from launcher.backends.folders import copy_folder
from launcher.backends.local import files, process
from launcher.backends.local.logs import LogView, last_words, read_logs
from launcher.backends.local.record import RECORD_FILE, JobFolder, JobRecord
from launcher.backends.local.submission import Submitter
from launcher.backends.local.view import is_alive, status_of, supervisor_of
from launcher.errors import InvalidJob, JobNotFound, LauncherError
from launcher.job.placement import Placement, plan
from launcher.job.spec import JobSpec
from launcher.suggestions import nearest
from trainer.config.contract import LOCAL_NAMESPACE

LOCK_FILE = ".lock"
POLL_SECONDS = 0.2
LISTED_NAMES = 5
NAME_PATTERN = "[a-z]([-a-z0-9]*[a-z0-9])?"

# `-P` keeps the job's folder off the module path, so that no file in it shadows a module.
START_COMMAND = (sys.executable, "-P", "-m", "trainer", "run")


def talk(message: str) -> None:
    """Say something to the user beside the answer."""
    click.echo(message, err=True)


class LocalBackend:
    """Runs each job under a supervisor process and keeps everything about it in ``<results>/local/<job>/``."""

    def __init__(
        self,
        results_root: Path,
        *,
        start_command: Sequence[str] = START_COMMAND,
        say: Callable[[str], None] = talk,
    ) -> None:
        """``start_command`` is what the run file, folder and number of ranks are appended to; tests give their own."""
        self._jobs = Path(results_root).expanduser().absolute() / LOCAL_NAMESPACE
        self._start_command = tuple(start_command)
        self._say = say

    def place(self, spec: JobSpec) -> Placement:
        """Split the job by the nodes that its file states; here all of it runs on this machine."""
        return plan(spec, spec.nodes)

    def submit(self, spec: JobSpec, placement: Placement, *, fresh: bool) -> Submission:
        """Start or continue the job, or find that there is nothing to do."""
        return self._submit(spec, placement, fresh=fresh, directory=Path.cwd())

    def _submit(self, spec: JobSpec, placement: Placement, *, fresh: bool, directory: Path) -> Submission:
        folder = JobFolder(self._jobs / spec.name)
        submitter = Submitter(folder, spec, directory=directory, start_command=self._start_command, say=self._say)
        try:
            self._jobs.mkdir(parents=True, exist_ok=True)
            with self._locked():
                outcome = submitter.submit(placement, fresh=fresh)
        except OSError as error:
            raise LauncherError(
                f"{error.filename or folder.path}: {error.strerror or error}, so the job was not started\n"
                f"repair that, or choose another folder with --results-dir"
            ) from error
        return Submission(outcome=outcome, status=self.get(spec.name))

    def get(self, name: str) -> JobStatus:
        """The job's status now."""
        folder, record = self._job(name)
        return status_of(folder, record)

    def list(self, *, all_namespaces: bool = False) -> tuple[JobStatus, ...]:  # noqa: ARG002  there is one here
        """All jobs, newest first; a folder whose record cannot be read is named and left out."""
        statuses = []
        for folder in self._folders():
            try:
                if (record := folder.record()) is not None:
                    statuses.append(status_of(folder, record))
            except LauncherError as error:
                self._say(error.message)
        return tuple(sorted(statuses, key=lambda status: status.submitted, reverse=True))

    def watch(self, name: str) -> Iterator[JobStatus]:
        """A status at once and at each change, ending after one that is over."""
        seen = self.get(name)
        yield seen
        while not seen.state.is_over:
            time.sleep(POLL_SECONDS)
            status = self.get(name)
            if status != seen:
                seen = status
                yield seen

    def logs(self, name: str, *, follow: bool, rank: int | None, tail: int | None) -> Iterator[LogLine]:
        """Lines of the newest attempt, all ranks merged; with ``follow`` until the job is over.

        Where the ranks wrote nothing, as when a job failed before it started them, the supervisor has the word.
        """
        folder, record = self._job(name)
        if rank is not None and not 0 <= rank < record.ranks:
            raise InvalidJob(f"job {name} has no rank {rank}; its ranks are 0 to {record.ranks - 1}")
        silent = True
        for line in read_logs(
            lambda: self._log_view(name), lambda: time.sleep(POLL_SECONDS), follow=follow, rank=rank, tail=tail
        ):
            silent = False
            yield line
        if silent and tail != 0 and self.get(name).state.is_over:
            said = last_words(folder.supervisor_log, after=record.log_before, count=tail or sys.maxsize)
            yield from (LogLine(source="supervisor", text=text) for text in said)

    def cancel(self, name: str, *, grace_seconds: float) -> JobStatus:
        """Stop with a checkpoint; the job can be submitted again to go on. Of a job that is over nothing changes."""
        return self._stop(name, "cancelled", grace_seconds)

    def suspend(self, name: str, *, grace_seconds: float) -> JobStatus:
        """Stop with a checkpoint for now. Of a job that is over nothing changes."""
        return self._stop(name, "suspended", grace_seconds)

    def resume(self, name: str) -> Submission:
        """Start the recorded spec again on as many ranks as before."""
        _, record = self._job(name)
        status = self.get(name)
        if status.state not in (State.SUSPENDED, State.CANCELLED, State.PENDING, State.RUNNING):
            raise LauncherError(
                f"job {name} is {status.state}, not suspended; submit its file again to go on from its last checkpoint"
            )
        try:
            spec = JobSpec.model_validate_json(json.dumps(record.spec))
        except ValidationError as error:
            raise LauncherError(
                f"job {name} was submitted by another version of the launcher; submit its file again to go on"
            ) from error
        directory = Path(record.directory) if record.directory else Path.cwd()
        placement = Placement(nodes=1, ranks_per_node=record.ranks)
        return self._submit(spec, placement, fresh=False, directory=directory)

    def delete(self, name: str, *, grace_seconds: float) -> str:
        """Stop and forget the job; its folder. Of a job that was deleted before nothing changes."""
        folder = self._folder(name)
        if folder.record() is None and folder.origin() is not None:
            return str(folder.path)
        self.cancel(name, grace_seconds=grace_seconds)
        with self._locked():
            record = folder.record()
            if record is not None and is_alive(record):
                raise LauncherError(f"job {name} was submitted again in the meantime; delete it again to stop it")
            folder.remove_record()
        return str(folder.path)

    def results(self, name: str) -> Results:
        """The results folder, also of a job that was deleted."""
        folder = self._folder(name)
        record = folder.record() or folder.rebuilt_record()
        if record is None and folder.origin() is None:
            raise self._not_found(name)
        succeeded = record is not None and status_of(folder, record).state is State.SUCCEEDED
        paths = (path.relative_to(folder.path) for path in folder.path.rglob("*") if path.is_file())
        return Results(
            path=str(folder.path),
            summary=folder.summary() if succeeded else None,
            files=tuple(sorted(str(path) for path in paths if not path.name.startswith(".tmp-"))),
        )

    def local_copy(self, name: str, path: str) -> Path | None:
        """The file itself."""
        file = Path(self.results(name).path) / path
        return file if file.is_file() else None

    def fetch(self, name: str, folder: Path) -> Copied:
        """Copy the job's folder."""
        source = Path(self.results(name).path)
        if folder.absolute().is_relative_to(source):
            raise InvalidJob(f"{folder}: is inside the results folder itself; choose another one")
        sink = copy_folder(source, folder)
        return Copied(files=len(sink.written), bytes=sink.size)

    def _stop(self, name: str, mark: Literal["cancelled", "suspended"], grace_seconds: float) -> JobStatus:
        self._job(name)
        with self._locked():
            folder, record = self._job(name)
            if not is_alive(record):
                return status_of(folder, record)
            folder.write_record(record.model_copy(update={mark: True}))
        process.terminate(supervisor_of(record), grace_seconds=grace_seconds)
        return self.get(name)

    def _log_view(self, name: str) -> LogView:
        folder, record = self._job(name)
        status = status_of(folder, record)
        started = status.attempt > record.attempts_before
        return LogView(
            is_over=status.state.is_over,
            attempt=status.attempt,
            rank_logs=folder.rank_logs(status.attempt) if started else {},
        )

    def _locked(self) -> AbstractContextManager[None]:
        return files.exclusive(self._jobs / LOCK_FILE)

    def _folder(self, name: str) -> JobFolder:
        """The folder of a job; anything that is no job name, such as a path, is not looked for."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise self._not_found(name)
        return JobFolder(self._jobs / name)

    def _job(self, name: str) -> tuple[JobFolder, JobRecord]:
        folder = self._folder(name)
        record = folder.record()
        if record is None:
            raise self._not_found(name)
        return folder, record

    def _folders(self) -> Iterator[JobFolder]:
        if self._jobs.is_dir():
            paths = (path for path in sorted(self._jobs.iterdir()) if re.fullmatch(NAME_PATTERN, path.name))
            yield from (JobFolder(path) for path in paths)

    def _not_found(self, name: str) -> JobNotFound:
        names = [folder.path.name for folder in self._folders() if (folder.path / RECORD_FILE).exists()]
        near = nearest(name, names, count=LISTED_NAMES, cutoff=0.4) or names[:LISTED_NAMES]
        lines = [f"no job {name!r} in {self._jobs}"]
        if name not in names and (self._jobs / name).is_dir() and re.fullmatch(NAME_PATTERN, name):
            lines.append(f"results of an earlier {name} are there: see `launcher results {name}`, or submit it again")
        lines.append(f"jobs there: {', '.join(near)}" if near else "there are no jobs there")
        lines.append("another folder: --results-dir DIR or LAUNCHER_RESULTS")
        return JobNotFound("\n".join(lines))
