"""What pods say: why they wait, how they ended, and which of their ends caused the others."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from launcher.backends.kubernetes.kinds import Object, labels_of, name_of
from launcher.backends.kubernetes.record import CONTAINER, REPLICA_INDEX
from trainer.exits import Exit, meaning

KILLED = 137
# Peers that lost another rank, and pods that were asked to leave: somebody else is the cause.
_CONSEQUENCES = (Exit.INFRASTRUCTURE, Exit.PREEMPTED)
# An earlier end, in a container that was restarted since, explains only what followed soon.
_RELATED = timedelta(minutes=5)
# What Python says where it finds no trainer or is too old for it, and a container's runtime where it finds no Python.
_NO_TRAINER = re.compile(
    r': No module named trainer(\.__main__;.*)?$|^Unknown option: -P$|exec: "python": executable file not found', re.M
)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class End:
    """How one container ended, or one pod that never had any."""

    pod: str
    index: int
    when: datetime
    code: int | None
    """None where the pod ended without a container's status."""
    cause: str = ""
    rank: int | None = None
    exception: str | None = None
    lines: tuple[str, ...] = ()
    attempt: int | None = None
    """The trainer's own count of its starts."""
    metrics: dict[str, Any] | None = None
    """Final metrics of a run that is done."""
    is_final: bool = True
    """Whether the container stayed ended."""
    lost_peer: bool = False
    """Whether its exception says that another rank went away."""

    @property
    def is_consequence(self) -> bool:
        """Whether another end is to blame."""
        return self.lost_peer or self.code in _CONSEQUENCES


def index_of(pod: Object) -> int:
    """The pod's number within the job."""
    text = labels_of(pod).get(REPLICA_INDEX, "")
    return int(text) if text.isdecimal() else 0


def in_order(pods: Iterable[Object]) -> list[Object]:
    """Pods by their number, of two with the same number the older first."""
    return sorted(pods, key=lambda pod: (index_of(pod), str(pod["metadata"].get("creationTimestamp", ""))))


def phase_of(pod: Object) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod.get("status", {}).get("phase", "Pending"))


def is_active(pod: Object) -> bool:
    """Whether something of it may still run."""
    return phase_of(pod) not in ("Succeeded", "Failed")


def trainer_status(pod: Object) -> Object:
    """The status of the training container; empty before there is one."""
    for one in pod.get("status", {}).get("containerStatuses") or []:
        if one.get("name") == CONTAINER:
            status: Object = one
            return status
    return {}


def restarts(pods: Iterable[Object]) -> int:
    """The most restarts in place that one of them has had."""
    return max((int(trainer_status(pod).get("restartCount") or 0) for pod in pods), default=0)


def ends(pods: Iterable[Object]) -> list[End]:
    """All ends that the pods still tell of."""
    return [end for pod in pods for end in _ends_of(pod)]


def root_cause(all_ends: Sequence[End]) -> End | None:
    """The earliest end that is not a consequence of another."""
    failed = [end for end in all_ends if end.code != Exit.DONE]
    final = [end for end in failed if end.is_final]
    if not final:
        return min(failed, key=_blame, default=None)
    first = min(end.when for end in final)
    earlier = [end for end in failed if not end.is_final and abs(first - end.when) <= _RELATED]
    guilty = [end for end in final if not end.is_consequence] or [end for end in earlier if not end.is_consequence]
    return min(guilty or final, key=_blame)


def _blame(end: End) -> tuple[bool, datetime, bool, int]:
    """Causes before consequences, then by time (whole seconds), then what says more than that it was killed."""
    return end.is_consequence, end.when, end.code == KILLED and not end.cause, end.index


def waits(pod: Object, events: Iterable[Object] = ()) -> str:
    """Why a pod does not run yet; empty when there is nothing to say."""
    status = pod.get("status", {})
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _scheduling(condition)
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return _joined(str(waiting["reason"]), str(waiting.get("message") or ""))
    return newest_warning(event for event in events if event.get("involvedObject", {}).get("name") == name_of(pod))


def hangs(pod: Object, now: datetime) -> str:
    """Says so when a pod should have been gone by now: its node is probably lost."""
    metadata = pod["metadata"]
    if not metadata.get("deletionTimestamp") or moment(metadata["deletionTimestamp"]) + timedelta(seconds=30) > now:
        return ""
    node = pod.get("spec", {}).get("nodeName", "its node")
    return f"{name_of(pod)} hangs in Terminating: is node {node} lost?"


def newest_warning(events: Iterable[Object]) -> str:
    """Reason and text of the newest Warning; empty without one."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return ""
    return in_words(max(warnings, key=event_time))


def in_words(event: Object) -> str:
    """Reason and text of an event."""
    return _joined(str(event.get("reason") or ""), str(event.get("message") or ""))


def event_time(event: Object) -> datetime:
    """When an event was last seen."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    created = event.get("metadata", {}).get("creationTimestamp")
    return next((moment(text) for text in (*times, created) if text), _LONG_AGO)


def moment(text: str | None) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(text) if text else _LONG_AGO


def _scheduling(condition: Object) -> str:
    if condition.get("reason") == "SchedulingGated":
        return "held back by a scheduling gate: a queue has not admitted it yet"
    return _joined(str(condition.get("reason") or "not scheduled"), str(condition.get("message") or ""))


def _joined(reason: str, message: str) -> str:
    return f"{reason}: {' '.join(message.split())}" if message else reason


def _ends_of(pod: Object) -> Iterator[End]:
    container, status = trainer_status(pod), pod.get("status", {})
    for state, is_final in (("state", True), ("lastState", False)):
        terminated = (container.get(state) or {}).get("terminated")
        if terminated:
            yield _end(pod, terminated, is_final=is_final)
    if phase_of(pod) == "Failed" and not (container.get("state") or {}).get("terminated"):
        words = _joined(str(status.get("reason") or "the pod failed"), str(status.get("message") or ""))
        yield End(pod=name_of(pod), index=index_of(pod), when=_when_failed(pod), code=None, cause=words)


def _when_failed(pod: Object) -> datetime:
    times = [one.get("lastTransitionTime") for one in pod.get("status", {}).get("conditions") or []]
    return max((moment(text) for text in times if text), default=moment(pod["metadata"].get("creationTimestamp")))


def _end(pod: Object, terminated: Object, *, is_final: bool) -> End:
    code = int(terminated.get("exitCode") or 0)
    message = str(terminated.get("message") or "")
    words = _read(message)
    cause, rank, lines, attempt = (words.get(key) for key in ("cause", "rank", "lines", "attempt"))
    if terminated.get("reason") == "OOMKilled" and not cause:  # a supervisor that lived to write knows more
        cause = _out_of_memory(pod)
    elif not cause and _NO_TRAINER.search(message):
        cause = "the image holds no trainer: build it FROM the trainer's, or give the command `runner: torchrun`"
    elif terminated.get("reason") not in (None, "", "Error", "Completed") and not cause:
        cause = _joined(str(terminated["reason"]), "" if lines else message)
    return End(
        pod=name_of(pod),
        index=index_of(pod),
        when=moment(terminated.get("finishedAt")),
        code=code,
        cause=str(cause or ""),
        rank=rank if isinstance(rank, int) else None,
        exception=str(words["exception"]) if words.get("exception") else None,
        lines=tuple(str(line) for line in lines) if isinstance(lines, list) else (),
        attempt=attempt if isinstance(attempt, int) else None,
        metrics=words["metrics"] if isinstance(words.get("metrics"), dict) else None,
        is_final=is_final,
    )


def _read(message: str) -> dict[str, Any]:
    """A termination message: the trainer's JSON, or the last lines of any other program."""
    try:
        words = json.loads(message)
    except ValueError:
        return {"lines": message.splitlines()}
    return words if isinstance(words, dict) else {"lines": message.splitlines()}


def _out_of_memory(pod: Object) -> str:
    containers = pod.get("spec", {}).get("containers") or []
    limits = [one.get("resources", {}).get("limits", {}).get("memory") for one in containers]
    limit = next((text for text in limits if text), None)
    return f"out of memory: the pod's limit is {limit} (resources.memory)" if limit else "out of memory on its node"


def what_happened(end: End) -> str:
    """The cause in words."""
    return end.cause or (meaning(end.code) if end.code is not None else "the pod failed")
