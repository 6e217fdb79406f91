"""Looking at a job's folder and process, and putting what is seen into a JobStatus."""

from launcher.backends.base import JobStatus, Progress, read_progress
from launcher.backends.local import process
from launcher.backends.local.logs import last_words, newest_progress_line
from launcher.backends.local.record import JobFolder, JobRecord
from launcher.backends.local.status import Facts, judge
from trainer.config.contract import LOCAL_NAMESPACE
from trainer.exits import Exit

LAST_WORDS = 10


def supervisor_of(record: JobRecord) -> process.Identity:
    """The process that the submission started."""
    return process.Identity(record.pid, record.process_started)


def is_alive(record: JobRecord) -> bool:
    """Whether the submission's supervisor runs."""
    return process.is_alive(supervisor_of(record))


def gather(folder: JobFolder, record: JobRecord) -> Facts:
    """What can be seen of the submission now.

    The process comes first: one that is gone by then has already recorded its end, so that end cannot be missed.
    """
    alive = is_alive(record)
    newest = folder.newest_attempt()
    attempt = folder.attempt(newest) if newest > record.attempts_before else None
    is_complete = not alive and _is_complete(folder, record)
    said = () if alive or is_complete else last_words(folder.supervisor_log, after=record.log_before, count=LAST_WORDS)
    return Facts(
        alive=alive,
        attempt=attempt,
        cancelled=record.cancelled,
        suspended=record.suspended,
        is_complete=is_complete,
        last_words=said,
    )


def _is_complete(folder: JobFolder, record: JobRecord) -> bool:
    """Whether all that was asked for is done; a script may write its summary before it fails."""
    if record.spec.get("command") is None:
        return epochs_done(folder) >= _epochs_wanted(record)
    newest = folder.attempt(folder.newest_attempt())
    ended_well = newest is not None and newest.end is not None and newest.end.code == Exit.DONE
    return ended_well and folder.summary() is not None


def epochs_done(folder: JobFolder) -> int:
    """How many epochs the summary of the last success covers; 0 without one."""
    epochs = (folder.summary() or {}).get("epochs")
    return epochs if isinstance(epochs, int) else 0


def _epochs_wanted(record: JobRecord) -> int:
    epochs = (record.spec.get("train") or {}).get("epochs")
    return epochs if isinstance(epochs, int) else 1


def status_of(folder: JobFolder, record: JobRecord) -> JobStatus:
    """The job's status now."""
    facts = gather(folder, record)
    verdict = judge(facts)
    return JobStatus(
        name=record.name,
        namespace=LOCAL_NAMESPACE,
        backend="local",
        state=verdict.state,
        ranks=record.ranks,
        nodes=1,
        attempt=facts.attempt.attempt if facts.attempt else record.attempts_before,
        submitted=record.submitted,
        ended=verdict.ended,
        exit_code=verdict.exit_code,
        reason=verdict.reason,
        results=str(folder.path),
        progress=_progress(folder, record),
        failure=verdict.failure,
    )


def _progress(folder: JobFolder, record: JobRecord) -> Progress | None:
    line = newest_progress_line(folder.supervisor_log, after=record.log_before)
    return None if line is None else read_progress(line)
