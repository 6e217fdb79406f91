"""Why a job does not run yet: what the operator could not make, and what the pods wait for.

Where the server refuses a pod, the operator stops there: it makes neither the pods after it nor any service, and writes
no status, not even that it has seen the job. All that tells of it is an event of the job.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from launcher.backends.kubernetes.kinds import Object, uid_of
from launcher.backends.kubernetes.pods import event_time, in_order, in_words, moment, phase_of, waits
from launcher.backends.kubernetes.record import Job

UNNOTICED = timedelta(seconds=20)
STARTING = "starting"

Objects = Sequence[Object]


def why_pending(job: Job, pods: Objects | None, events: Objects | None, now: datetime) -> str:
    """One line; ``pods`` and ``events`` are None where they were not read."""
    if words := refused(job, pods, events) or waiting(job, pods, events):
        return words
    is_noticed = job.condition("Created") or pods or _own(job, events)
    if is_noticed or now - moment(job.obj["metadata"].get("creationTimestamp")) <= UNNOTICED:
        return STARTING
    return "no pod yet" if events is None else "the training operator has not noticed it: is it running?"


def refused(job: Job, pods: Objects | None, events: Objects | None) -> str:
    """What the server said when the operator last tried to make what is still missing; empty when nothing is."""
    own = _own(job, events)
    missing = job.nodes - len(pods or ())
    if missing > 0 and (words := _last_refusal(own, "Pod")):
        count = f"{missing} of {job.nodes} pods are missing: " if pods is not None and job.nodes > 1 else ""
        return count + words
    return _last_refusal(own, "Service")


def _last_refusal(own: Objects, kind: str) -> str:
    """Empty where a later try has succeeded."""
    failed, made = (_newest(own, f"{outcome}Create{kind}") for outcome in ("Failed", "Successful"))
    if failed is None or (made is not None and event_time(made) > event_time(failed)):
        return ""
    return in_words(failed)


def _newest(events: Objects, reason: str) -> Object | None:
    return max((event for event in events if event.get("reason") == reason), key=event_time, default=None)


def _own(job: Job, events: Objects | None) -> Objects:
    """Those of this very object: another one of its name may have been there before."""
    return [event for event in events or () if event.get("involvedObject", {}).get("uid") == uid_of(job.obj)]


def waiting(job: Job, pods: Objects | None, events: Objects | None) -> str:
    """What the first pod waits for that says so."""
    pending = [pod for pod in in_order(pods or ()) if phase_of(pod) == "Pending"]
    reasons = [words for pod in pending if (words := waits(pod, events or ()))]
    if not reasons:
        return ""
    count = f"{len(pending)} of {job.nodes} pods wait: " if job.nodes > 1 else ""
    return count + reasons[0]
