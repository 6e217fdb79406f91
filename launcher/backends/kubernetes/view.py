"""Looking at a job through the API, and putting what is seen into a JobStatus.

A user who may read the job but not its pods, events or logs still gets its state; one line says what is missing.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from launcher.backends.base import JobStatus, Progress, State, read_progress
from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.errors import ApiError, Forbidden, NotFound
from launcher.backends.kubernetes.kinds import EVENT, JOB, POD, Object, is_name, labels_of, name_of
from launcher.backends.kubernetes.pods import (
    ends,
    in_order,
    is_active,
    moment,
    phase_of,
    restarts,
    trainer_status,
    waits,
)
from launcher.backends.kubernetes.record import CONTAINER, JOB_NAME, MANAGED_BY, OPERATOR_NAME, Job
from launcher.backends.kubernetes.status import Facts, judge
from launcher.backends.kubernetes.transport import Broken
from launcher.errors import JobNotFound
from launcher.suggestions import nearest
from trainer.config.contract import PROGRESS_TAG

TAIL_LINES = 200
LOG_SECONDS = 5.0
LISTED_NAMES = 5
# Of so many waiting pods the events are read: they mostly say the same.
PODS_ASKED = 2

T = TypeVar("T")


class View:
    """Reads jobs of one cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._said: set[str] = set()

    def job(self, name: str) -> Job:
        """The job as it is now.

        Raises:
            JobNotFound: There is none; the message names those there are.
        """
        if not is_name(name):
            raise self.not_found(name)
        try:
            return Job(self._api.get(JOB, name, self._api.namespace))
        except NotFound as error:
            raise self.not_found(name) from error

    def not_found(self, name: str) -> JobNotFound:
        """The error for a name that no job has."""
        namespace, where = self._api.namespace, self._api.client.access.where
        lines = [f"no job {name!r} in namespace {namespace} ({where})"]
        try:
            names = [name_of(obj) for obj in self._api.list(JOB, namespace, labels=MANAGED_BY).items]
        except ApiError:
            names = []
        if names:
            near = nearest(name, names, count=LISTED_NAMES, cutoff=0.4) or names[:LISTED_NAMES]
            lines.append(f"jobs there: {', '.join(near)}")
        lines.append("another namespace: -n NAMESPACE; results of a deleted job stay on its claim")
        return JobNotFound("\n".join(lines))

    def status(self, job: Job) -> JobStatus:
        """The job's status now, with its progress."""
        pods = self.pods(job)
        return _status(self._facts(job, pods), self._progress(job, pods or ()))

    def state(self, job: Job) -> State:
        """The job's state alone."""
        return judge(Facts(job=job, pods=self.pods(job), now=datetime.now(UTC))).state

    def all(self, *, all_namespaces: bool) -> tuple[JobStatus, ...]:
        """The statuses of all jobs that the launcher made, newest first, without progress."""
        namespace = None if all_namespaces else self._api.namespace
        jobs = [Job(obj) for obj in self._api.list(JOB, namespace, labels=MANAGED_BY).items]
        pods: dict[tuple[str, str], list[Object]] | None = {}
        if jobs:
            found = self._if_allowed("pods", lambda: self._api.list(POD, namespace, labels=OPERATOR_NAME).items)
            pods = None if found is None else _by_job(found)
        now = datetime.now(UTC)
        statuses = [
            _status(
                Facts(job=job, pods=None if pods is None else tuple(pods.get((job.namespace, job.name), ())), now=now),
                None,
            )
            for job in jobs
        ]
        return tuple(sorted(statuses, key=lambda status: status.submitted, reverse=True))

    def pods(self, job: Job) -> tuple[Object, ...] | None:
        """The job's pods in order; None where they may not be read."""
        found = self._if_allowed(
            "pods", lambda: self._api.list(POD, job.namespace, labels=f"{JOB_NAME}={job.name}").items
        )
        return None if found is None else tuple(in_order(found))

    def _facts(self, job: Job, pods: tuple[Object, ...] | None) -> Facts:
        events = self._events_of(job, pods) if _is_waiting(job, pods) else ()
        logs = self._logs_of_failed(job, pods or ())
        return Facts(job=job, pods=pods, events=events, logs=logs, now=datetime.now(UTC))

    def _logs_of_failed(self, job: Job, pods: Iterable[Object]) -> dict[str, tuple[str, ...]]:
        """What scripts wrote last: unlike the trainer's, their termination messages do not hold the exception."""
        if not (job.runs_under_torchrun and job.condition("Failed")):
            return {}
        failed = [end.pod for end in sorted(ends(pods), key=lambda end: end.when) if end.code]
        return {
            pod: tuple(line.decode(errors="replace") for line in self._tail(pod, job)) for pod in failed[:PODS_ASKED]
        }

    def _events_of(self, job: Job, pods: Iterable[Object] | None) -> tuple[Object, ...] | None:
        silent = [pod for pod in pods or () if phase_of(pod) == "Pending" and not waits(pod)]
        about = [("PyTorchJob", job.name), *(("Pod", name_of(pod)) for pod in silent[:PODS_ASKED])]
        found: list[Object] = []
        for kind, name in about:
            events = self._events(job.namespace, f"involvedObject.kind={kind},involvedObject.name={name}")
            if events is None:
                return None
            found += events
        return tuple(found)

    def _events(self, namespace: str, fields: str) -> tuple[Object, ...] | None:
        return self._if_allowed("events", lambda: self._api.list(EVENT, namespace, fields=fields).items)

    def _progress(self, job: Job, pods: Iterable[Object]) -> Progress | None:
        """From the newest progress line of the first pod; a status does without where there is none to be had."""
        first = next((pod for pod in pods if phase_of(pod) != "Pending"), None)
        if first is None:
            return None
        return newest_progress(self._tail(name_of(first), job))

    def _tail(self, pod: str, job: Job) -> list[bytes]:
        """The last lines of a pod's log; none where they cannot be had."""
        query = {"container": CONTAINER, "tailLines": str(TAIL_LINES)}
        try:
            with self._api.pod_log(pod, job.namespace, query, silence=LOG_SECONDS, once=True) as lines:
                return list(lines)
        except (ApiError, Broken):
            return []

    def _if_allowed(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Forbidden as error:
            if what not in self._said:
                self._said.add(what)
                self._api.client.say(f"not shown, since you may not list {what}: {_MISSING[what]} ({error.reason})")
            return None


_MISSING = {"pods": "progress, reasons and causes of failures", "events": "why pods are missing or wait"}


def newest_progress(lines: list[bytes]) -> Progress | None:
    """The last progress line among the lines of a log."""
    tag = f"{PROGRESS_TAG} ".encode()
    for line in reversed(lines):
        if line.startswith(tag):
            return read_progress(line.removeprefix(tag))
    return None


def _is_waiting(job: Job, pods: tuple[Object, ...] | None) -> bool:
    """Whether events may tell why something of it does not run."""
    if job.suspend or job.condition("Failed") or job.condition("Succeeded"):
        return False
    runs = job.condition("Running") or job.condition("Restarting")
    return not runs or pods is None or len(pods) < job.nodes or any(phase_of(pod) == "Pending" for pod in pods)


def _by_job(pods: Iterable[Object]) -> dict[tuple[str, str], list[Object]]:
    found: dict[tuple[str, str], list[Object]] = {}
    for pod in pods:
        key = (str(pod["metadata"].get("namespace")), labels_of(pod).get(JOB_NAME, ""))
        found.setdefault(key, []).append(pod)
    return found


def _status(facts: Facts, progress: Progress | None) -> JobStatus:
    job, verdict = facts.job, judge(facts)
    return JobStatus(
        name=job.name,
        namespace=job.namespace,
        backend="kubernetes",
        state=verdict.state,
        ranks=job.nodes * job.ranks_per_node,
        nodes=job.nodes,
        attempt=_attempt(facts, progress),
        submitted=moment(job.obj["metadata"].get("creationTimestamp")),
        ended=verdict.ended,
        exit_code=verdict.exit_code,
        reason=verdict.reason,
        advice=verdict.advice,
        results=job.results,
        progress=progress,
        failure=verdict.failure,
    )


def _attempt(facts: Facts, progress: Progress | None) -> int:
    """The trainer's own count where a pod has told it, and otherwise submissions and restarts in place."""
    job, pods = facts.job, facts.pods or ()
    if not job.has_run and not any(trainer_status(pod).get("started") or not is_active(pod) for pod in pods):
        return job.submission - 1
    told = [end.attempt + (not end.is_final) for end in ends(pods) if end.attempt]
    if progress and progress.attempt:
        told.append(progress.attempt)  # ranks also start again inside their containers
    return max([job.submission + restarts(pods), *told])
