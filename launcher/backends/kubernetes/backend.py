"""KubernetesBackend: jobs as PyTorchJobs, their state read from the API each time."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from launcher.backends.base import Copied, JobStatus, LogLine, Results, Submission
from launcher.backends.folders import cache_folder
from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.client import Client, Timeouts
from launcher.backends.kubernetes.deletion import wait_until_gone
from launcher.backends.kubernetes.errors import ApiError, Forbidden, NotFound
from launcher.backends.kubernetes.kinds import JOB, POD, Object, uid_of
from launcher.backends.kubernetes.kubeconfig import Target
from launcher.backends.kubernetes.logs import Choice, JobLogs
from launcher.backends.kubernetes.nodes import Nodes
from launcher.backends.kubernetes.pods import in_order, index_of
from launcher.backends.kubernetes.record import CANCELLED, JOB_NAME, Job
from launcher.backends.kubernetes.results import ResultsReader, without_reader
from launcher.backends.kubernetes.retry import Policy
from launcher.backends.kubernetes.submit import Submitter, resume
from launcher.backends.kubernetes.view import View
from launcher.backends.kubernetes.watching import Pace, Watcher
from launcher.errors import InvalidJob, JobNotFound, LauncherError
from launcher.job.placement import Placement
from launcher.job.spec import JobSpec

POLL_SECONDS = 1.0
# How often to look at a job that shows no progress: its own watch tells nothing of pods and of events.
WAITING_SECONDS = 5.0
# What the operator and the garbage collector may take on top of the pods' own grace period.
CLUSTER_SECONDS = 30.0
# The first minor version of Kubernetes 1 whose kubelets restart a container in place by its exit code.
RESTARTS_IN_PLACE = 35

Render = Callable[..., list[Object]]
Pods = tuple[Object, ...]


def talk(message: str) -> None:
    """Say something to the user beside the answer."""
    click.echo(message, err=True)


def rendered(spec: JobSpec, placement: Placement, *, namespace: str, restart_rules: bool) -> list[Object]:
    """What the chart makes of a job: the same as `launcher render` shows."""
    from launcher.job.render import job_manifests

    return job_manifests(spec, placement, namespace=namespace, restart_rules=restart_rules)


class KubernetesBackend:
    """Runs jobs through the Kubeflow training operator of one cluster."""

    def __init__(
        self,
        target: Target,
        *,
        say: Callable[[str], None] = talk,
        make: Render = rendered,
        policy: Policy | None = None,
        timeouts: Timeouts | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Nothing is read or sent before the first call. ``make`` and all after it are for tests."""
        self._say = say
        self._make = make
        self._pace = pace
        self._api = Api(Client(target, say=say, policy=policy, timeouts=timeouts))
        self._view = View(self._api)

    def place(self, spec: JobSpec) -> Placement:
        """Split the job by the nodes that its file states, or else by those of the cluster."""
        return Nodes(self._api, self._say).place(spec)

    def submit(self, spec: JobSpec, placement: Placement, *, fresh: bool) -> Submission:
        """Create or continue the job, or find that there is nothing to do."""
        in_place = self._api.minor_version() >= RESTARTS_IN_PLACE
        manifests = self._make(spec, placement, namespace=self._api.namespace, restart_rules=in_place)
        outcome = Submitter(self._api, self._view, spec, manifests).submit(fresh=fresh)
        return Submission(outcome=outcome, status=self.get(spec.name))

    def get(self, name: str) -> JobStatus:
        """The job's status now."""
        return self._view.status(self._view.job(name))

    def list(self, *, all_namespaces: bool = False) -> tuple[JobStatus, ...]:
        """All jobs of the namespace, or of all namespaces, newest first."""
        return self._view.all(all_namespaces=all_namespaces)

    def watch(self, name: str) -> Iterator[JobStatus]:
        """A status at once and at each change, ending after one that is over.

        Raises:
            JobNotFound: There is no such job, or it was deleted meanwhile.
        """
        self._view.job(name)
        watcher = Watcher(self._api, JOB, self._api.namespace, fields=f"metadata.name={name}", pace=self._pace)
        usual = watcher.window
        job: Job | None = None
        seen: JobStatus | None = None
        for change in watcher.changes():
            if change is not None and change.is_gone:
                raise JobNotFound(f"job {name} was deleted while it was watched; its results stay on its claim")
            job = Job(change.obj) if change is not None else job
            status = self._status_or_none(job)
            if status is None:
                continue
            watcher.window = usual if status.progress and not status.advice else min(usual, WAITING_SECONDS)
            if status == seen:
                continue
            yield status
            if status.state.is_over:
                return
            seen = status

    def _status_or_none(self, job: Job | None) -> JobStatus | None:
        """The status; None where the cluster does not answer at present: the watch tells of that."""
        if job is None:
            return None
        try:
            return self._view.status(job)
        except ApiError as error:
            if not error.retryable:
                raise
            return None

    def logs(self, name: str, *, follow: bool, rank: int | None, tail: int | None) -> Iterator[LogLine]:
        """Lines of all pods, merged; with ``follow`` until the job is over."""
        job = self._view.job(name)
        ranks = job.nodes * job.ranks_per_node
        if rank is not None and not 0 <= rank < ranks:
            raise InvalidJob(f"job {name} has no rank {rank}; its ranks are 0 to {ranks - 1}")
        choice = Choice(rank, job.ranks_per_node, tagged=not job.runs_under_torchrun)
        logs = JobLogs(self._api, job, choice)
        pods = self._pods(job, choice)
        if not pods and self._view.state(job).is_over:
            self._say(f"the pods of {name} are gone; the logs of all attempts are in {job.results}/logs")
        yield from logs.so_far(pods, tail)
        if follow:
            yield from logs.follow(lambda: self._look(job, choice))

    def _look(self, job: Job, choice: Choice) -> tuple[Pods, bool]:
        try:
            newest = self._view.job(job.name)
        except JobNotFound:
            return (), True
        return self._pods(newest, choice), self._view.state(newest).is_over

    def _pods(self, job: Job, choice: Choice) -> Pods:
        found = self._api.list(POD, job.namespace, labels=f"{JOB_NAME}={job.name}").items
        return tuple(pod for pod in in_order(found) if choice.wants_pod(index_of(pod)))

    def cancel(self, name: str, *, grace_seconds: float) -> JobStatus:
        """Stop with a checkpoint; the job can be submitted again to go on. Of a job that is over nothing changes."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return self._stop(name, {"metadata": {"annotations": {CANCELLED: now}}}, grace_seconds)

    def suspend(self, name: str, *, grace_seconds: float) -> JobStatus:
        """Stop with a checkpoint for now. Of a job that is over nothing changes."""
        return self._stop(name, {}, grace_seconds)

    def _stop(self, name: str, mark: dict[str, Any], grace_seconds: float) -> JobStatus:
        job = self._view.job(name)
        if self._view.state(job).is_over:
            return self._view.status(job)
        if job.queue:
            raise LauncherError(
                f"job {name} belongs to queue {job.queue}, which would start it again\n"
                f"delete it with `launcher delete {name}` (results stay), and submit its file again to go on"
            )
        spec = {"runPolicy": {"suspend": True}, **job.mended_replicas}
        self._api.patch(JOB, name, job.namespace, {**mark, "spec": spec})
        give_up = time.monotonic() + grace_seconds + CLUSTER_SECONDS
        while not (status := self.get(name)).state.is_over and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS)
        return status

    def resume(self, name: str) -> Submission:
        """Let a suspended or cancelled job run again, as it was submitted."""
        outcome = resume(self._api, self._view, name)
        return Submission(outcome=outcome, status=self.get(name))

    def delete(self, name: str, *, grace_seconds: float) -> str:
        """Delete the job and all that belongs to it; where its results stay."""
        job = self._view.job(name)
        try:
            self._api.delete(JOB, name, job.namespace, uid=uid_of(job.obj))
        except NotFound:
            return job.results
        wait_until_gone(self._api, job, seconds=grace_seconds + CLUSTER_SECONDS)
        return job.results

    def results(self, name: str) -> Results:
        """The results folder, read through a pod, or what the last message of a pod says of it."""
        job = self._view.job(name)
        try:
            return ResultsReader(self._api, job).list()
        except Forbidden as error:
            results = without_reader(error, job, self._view.pods(job) or ())
            self._say(f"only the final metrics: you may not {error.request.verb} {error.request.kind} to read the rest")
            return results

    def local_copy(self, name: str, path: str) -> Path | None:
        """A copy in the user's cache folder, made anew each time."""
        job = self._view.job(name)
        folder = cache_folder() / "results" / job.namespace / job.name
        return folder / path if ResultsReader(self._api, job).fetch_one(path, folder) else None

    def fetch(self, name: str, folder: Path) -> Copied:
        """Copy the results folder's files through a pod."""
        sink = ResultsReader(self._api, self._view.job(name)).fetch(folder)
        return Copied(files=len(sink.written), bytes=sink.size)
