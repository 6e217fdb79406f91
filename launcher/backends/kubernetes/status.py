"""A job's state, decided from what the API shows of it now; nothing is remembered that could go stale."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from launcher.backends.base import Failure, State
from launcher.backends.kubernetes.advice import advice
from launcher.backends.kubernetes.kinds import Object
from launcher.backends.kubernetes.pending import STARTING, refused, waiting, why_pending
from launcher.backends.kubernetes.pods import (
    End,
    ends,
    hangs,
    in_order,
    is_active,
    moment,
    root_cause,
    what_happened,
)
from launcher.backends.kubernetes.record import Job
from launcher.backends.kubernetes.torchrun import explain
from trainer.exits import Exit

# The operator's conditions in the order of their weight: the newest of the list is not always the one that holds.
ORDER = ("Failed", "Succeeded", "Suspended", "Restarting", "Running", "Created")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What can be seen of one job."""

    job: Job
    pods: tuple[Object, ...] | None
    """None where they may not be read."""
    events: tuple[Object, ...] | None = None
    """Of the job, and of pods that wait; None where they were not read."""
    logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Pod -> the end of its log, of failed pods that ran a script under torchrun."""
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the facts mean."""

    state: State
    reason: str = ""
    advice: str = ""
    """What to do about it."""
    exit_code: int | None = None
    ended: datetime | None = None
    failure: Failure | None = None


def judge(facts: Facts) -> Verdict:
    """Decide the state."""
    job = facts.job
    kind = next((kind for kind in ORDER if job.condition(kind)), None)
    if kind == "Failed":
        return _failed(facts)
    if kind == "Succeeded" and job.stated_nodes == 0:
        return _scaled_to_nothing(job)
    if kind == "Succeeded":
        return Verdict(state=State.SUCCEEDED, exit_code=Exit.DONE, ended=_ended(job, kind))
    if job.suspend:
        return _suspended(facts)
    if kind in ("Running", "Restarting"):
        return _running(facts, kind)
    if job.is_being_deleted:
        return Verdict(state=State.PENDING, reason=_going_away(job))
    reason = why_pending(job, facts.pods, facts.events, facts.now)
    return Verdict(state=State.PENDING, reason=reason, advice="" if reason == STARTING else advice(reason, job))


def _failed(facts: Facts) -> Verdict:
    job = facts.job
    condition = job.condition("Failed") or {}
    end = root_cause([explain(end, facts.logs.get(end.pod, ())) for end in ends(facts.pods or ())])
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


def _scaled_to_nothing(job: Job) -> Verdict:
    """The operator calls a job of no pods Succeeded, wherever its training stood."""
    words = "scaled to 0, which the operator takes for success: it was not trained to its end"
    return Verdict(
        state=State.FAILED,
        reason=words,
        ended=_ended(job, "Succeeded"),
        failure=Failure(cause=words, rank=None, exception=None, lines=()),
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


def _running(facts: Facts, kind: str) -> Verdict:
    """What is not well with a job that runs."""
    job, pods = facts.job, in_order(facts.pods or ())
    known = [words for pod in pods if (words := hangs(pod, facts.now))]
    if kind == "Restarting" and not known:
        end = root_cause(ends(pods))
        known.append(f"starting again: {why(end)}" if end else "starting again")
    if words := _going_away(job) or next(iter(known), ""):
        return Verdict(state=State.RUNNING, reason=words)
    if job.stated_nodes < job.least_nodes:
        least = job.least_nodes
        words = f"scaled to {job.stated_nodes}, and needs {least} {'pod' if least == 1 else 'pods'}"
        scale = f"`kubectl scale pytorchjob/{job.name} -n {job.namespace} --replicas={least}`"
        return Verdict(
            state=State.RUNNING, reason=words, advice=f"{scale}; to free its GPUs, `launcher suspend {job.name}`"
        )
    reason = refused(job, facts.pods, facts.events) or waiting(job, facts.pods, facts.events)
    return Verdict(state=State.RUNNING, reason=reason, advice=advice(reason, job) if reason else "")
