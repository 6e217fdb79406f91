"""A job's state, decided from what the API shows of it now; nothing is remembered that could go stale."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from launcher.backends.base import Failure, State
from launcher.backends.kubernetes.kinds import Object
from launcher.backends.kubernetes.pods import (
    End,
    ends,
    event_time,
    hangs,
    in_order,
    is_active,
    moment,
    newest_warning,
    phase_of,
    root_cause,
    waits,
    what_happened,
)
from launcher.backends.kubernetes.record import Job
from trainer.exits import Exit

# The operator's conditions in the order of their weight: the newest of the list is not always the one that holds.
ORDER = ("Failed", "Succeeded", "Suspended", "Restarting", "Running", "Created")
UNNOTICED = timedelta(seconds=20)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What can be seen of one job."""

    job: Job
    pods: tuple[Object, ...] | None
    """None where they may not be read."""
    events: tuple[Object, ...] = ()
    """Of the job, and of pods that wait."""
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the facts mean."""

    state: State
    reason: str = ""
    exit_code: int | None = None
    ended: datetime | None = None
    failure: Failure | None = None


def judge(facts: Facts) -> Verdict:
    """Decide the state."""
    job = facts.job
    kind = next((kind for kind in ORDER if job.condition(kind)), None)
    if kind == "Failed":
        return _failed(facts)
    if kind == "Succeeded":
        return Verdict(state=State.SUCCEEDED, exit_code=Exit.DONE, ended=_ended(job, kind))
    if job.suspend:
        return _suspended(facts)
    if kind in ("Running", "Restarting"):
        return Verdict(state=State.RUNNING, reason=_going_away(job) or _trouble(facts, kind))
    return Verdict(state=State.PENDING, reason=_going_away(job) or _why_pending(facts, kind))


def _failed(facts: Facts) -> Verdict:
    job = facts.job
    condition = job.condition("Failed") or {}
    end = root_cause(ends(facts.pods or ()))
    if end is None:  # no pod is left to ask, or none may be asked
        said = " ".join(str(condition.get("message") or "").split())
        return Verdict(
            state=State.FAILED,
            reason=said,
            ended=_ended(job, "Failed"),
            failure=Failure(cause=said, rank=None, exception=None, lines=()),
        )
    return Verdict(
        state=State.FAILED,
        reason=why(end),
        exit_code=end.code,
        ended=_ended(job, "Failed"),
        failure=Failure(cause=what_happened(end), rank=end.rank, exception=end.exception, lines=end.lines),
    )


def why(end: End) -> str:
    """One line: what happened, where, with which exception."""
    words = (what_happened(end).strip() or "failed").splitlines()[0]
    where = [end.pod if end.rank is None else f"rank {end.rank}"]
    if end.exception and end.exception not in words:
        where.append(end.exception.strip().splitlines()[0])
    return f"{words} ({', '.join(where)})"


def _suspended(facts: Facts) -> Verdict:
    job = facts.job
    if job.queue and not job.is_cancelled:
        return Verdict(state=State.PENDING, reason=f"waits in queue {job.queue}")
    if any(is_active(pod) for pod in facts.pods or ()):
        return Verdict(state=State.RUNNING, reason="stopping: saving a checkpoint")
    if facts.pods is None and (job.condition("Running") or job.condition("Restarting")):
        return Verdict(state=State.RUNNING, reason="stopping")
    state = State.CANCELLED if job.is_cancelled else State.SUSPENDED
    return Verdict(state=state, reason=_going_away(job), ended=_ended(job, "Suspended"))


def _ended(job: Job, kind: str) -> datetime | None:
    condition = job.condition(kind) or {}
    text = job.status.get("completionTime") if kind != "Suspended" else None
    text = text or condition.get("lastTransitionTime")
    return moment(text) if text else None


def _going_away(job: Job) -> str:
    return "being deleted" if job.is_being_deleted else ""


def _trouble(facts: Facts, kind: str) -> str:
    """What is not well with a job that runs."""
    pods = in_order(facts.pods or ())
    for pod in pods:
        if words := hangs(pod, facts.now):
            return words
    if kind == "Restarting":
        end = root_cause(ends(pods))
        return f"starting again: {why(end)}" if end else "starting again"
    waiting = [pod for pod in pods if phase_of(pod) == "Pending"]
    return _of_waiting(waiting, facts) if waiting else ""


def _why_pending(facts: Facts, kind: str | None) -> str:
    job, pods = facts.job, in_order(facts.pods or ())
    if kind is None:
        created = moment(job.obj["metadata"].get("creationTimestamp"))
        late = facts.now - created > UNNOTICED
        return "the training operator has not noticed it: is it running?" if late else "starting"
    if facts.pods is not None and len(pods) < job.nodes and (refused := newest_warning(_since_start(facts))):
        return refused
    waiting = [pod for pod in pods if phase_of(pod) == "Pending"]
    return _of_waiting(waiting, facts) or "starting"


def _since_start(facts: Facts) -> Iterable[Object]:
    """The job's own events since it was started last; older ones have been overcome."""
    started = moment(facts.job.status.get("startTime"))
    events = [event for event in facts.events if event.get("involvedObject", {}).get("kind") == "PyTorchJob"]
    return [event for event in events if event_time(event) >= started]


def _of_waiting(waiting: list[Object], facts: Facts) -> str:
    reasons = [words for pod in waiting if (words := waits(pod, facts.events))]
    if not reasons:
        return ""
    count = f"{len(waiting)} of {facts.job.nodes} pods wait: " if facts.job.nodes > 1 else ""
    return count + reasons[0]
