"""A local job's state, decided from gathered facts alone: nothing is stored that could go stale."""

from dataclasses import dataclass
from datetime import datetime

from launcher.backends.base import Failure, State
from launcher.backends.local.record import Attempt, AttemptEnd
from trainer.exits import Exit, is_final, meaning

VANISHED = "the supervisor vanished (killed, or the machine restarted)"
KILLED = "killed before it could save; goes on from an older checkpoint"
NO_SUMMARY = "the trainer ended well but wrote no summary.json"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What can be seen of one submission."""

    alive: bool
    """The supervisor's process runs."""
    attempt: Attempt | None
    """Its newest attempt."""
    cancelled: bool
    """Somebody cancelled it."""
    suspended: bool = False
    """Somebody suspended it."""
    is_complete: bool
    """summary.json, which is written last and only on success, covers all epochs that were asked for."""
    last_words: tuple[str, ...] = ()
    """The last lines that the supervisor wrote, progress left out."""

    @property
    def stopped(self) -> bool:
        """Whether somebody asked it to stop."""
        return self.cancelled or self.suspended

    @property
    def stopped_state(self) -> State:
        """What it is once it has stopped; a supervisor may also have been asked by the system."""
        return State.CANCELLED if self.cancelled else State.SUSPENDED


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the facts mean."""

    state: State
    reason: str = ""
    exit_code: int | None = None
    ended: datetime | None = None
    failure: Failure | None = None


def judge(facts: Facts) -> Verdict:
    """Decide the state. A supervisor that is gone never leaves a job Pending or Running."""
    end = facts.attempt.end if facts.attempt else None
    if facts.alive:
        return _of_living(facts, end)
    if end is not None:
        return _of_ended(facts, end)
    if facts.is_complete:
        # Ended between the summary and the attempt's end, or found everything done and began no attempt.
        return Verdict(state=State.SUCCEEDED, exit_code=Exit.DONE)
    if facts.stopped:
        return Verdict(state=facts.stopped_state, reason=KILLED if facts.attempt else "stopped before it started")
    if facts.attempt is not None:
        return _failed(VANISHED, lines=facts.last_words)
    said = facts.last_words[-1] if facts.last_words else "it wrote nothing"
    return _failed(f"never started: {said}", lines=facts.last_words)


def _of_living(facts: Facts, end: AttemptEnd | None) -> Verdict:
    if facts.attempt is None:
        return Verdict(state=State.PENDING, reason="starting")
    if facts.stopped:
        return Verdict(state=State.RUNNING, reason="stopping: saving a checkpoint")
    if end is not None and not is_final(end.code):
        return Verdict(
            state=State.RUNNING, reason=f"attempt {facts.attempt.attempt} ended, starting again: {_why(end)}"
        )
    return Verdict(state=State.RUNNING)


def _of_ended(facts: Facts, end: AttemptEnd) -> Verdict:
    if end.code == Exit.DONE and facts.is_complete:
        return Verdict(state=State.SUCCEEDED, exit_code=end.code, ended=end.ended)
    if end.code == Exit.DONE:
        return _failed(NO_SUMMARY, lines=facts.last_words, end=end)
    # A retryable end is the last one only where the supervisor was stopped while it waited to start again.
    stopped_between_attempts = facts.stopped and not is_final(end.code)
    if end.code == Exit.PREEMPTED or stopped_between_attempts:
        return Verdict(state=facts.stopped_state, reason=_why(end), exit_code=Exit.PREEMPTED, ended=end.ended)
    lines = end.lines or (() if end.exception else facts.last_words)
    return _failed(_why(end), lines=lines, end=end, cause=end.cause or meaning(end.code))


def _failed(reason: str, *, lines: tuple[str, ...], end: AttemptEnd | None = None, cause: str | None = None) -> Verdict:
    failure = Failure(
        cause=cause or reason,
        rank=end.rank if end else None,
        exception=end.exception if end else None,
        lines=lines,
    )
    return Verdict(
        state=State.FAILED,
        reason=reason,
        exit_code=end.code if end else None,
        ended=end.ended if end else None,
        failure=failure,
    )


def _why(end: AttemptEnd) -> str:
    """One line: what happened, on which rank, with which exception."""
    what = (end.cause or meaning(end.code)).strip().splitlines()[0]
    where = [] if end.rank is None else [f"rank {end.rank}"]
    if end.exception and end.exception not in what:
        where.append(end.exception.strip().splitlines()[0])
    return f"{what} ({', '.join(where)})" if where else what
