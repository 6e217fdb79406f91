"""Submitting: create the job, go on with it, or find that there is nothing to do.

The PyTorchJob is the only record. Its create is the one point where a job comes into being; whatever happens to the
request or its reply, the server has at most one object of the name, and its annotations say whose it is.
"""

import uuid
from typing import Any, Literal

from launcher.backends.base import State
from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.deletion import wait_until_gone
from launcher.backends.kubernetes.errors import ApiError, Conflict, NotFound
from launcher.backends.kubernetes.kinds import CLAIM, JOB, Object, kind_of, name_of, uid_of
from launcher.backends.kubernetes.nodes import check_quota
from launcher.backends.kubernetes.record import CANCELLED, SUBMISSION, SUBMITTED_BY, Job
from launcher.backends.kubernetes.results import ResultsReader, owner_reference
from launcher.backends.kubernetes.view import View
from launcher.errors import InvalidJob, LauncherError
from launcher.job.digest import diff, digest
from launcher.job.spec import JobSpec

Outcome = Literal["created", "resumed", "unchanged", "already done"]

GONE_SECONDS = 180.0
TRIES = 3


class _Changed(Exception):
    """Somebody else was faster: look again."""


class Submitter:
    """One submit of one job."""

    def __init__(self, api: Api, view: View, spec: JobSpec, manifests: list[Object]) -> None:
        """``manifests`` are what the chart makes of the job: one PyTorchJob, and what its options add."""
        self._api = api
        self._view = view
        self._spec = spec
        self._digest = digest(spec)
        self._id = str(uuid.uuid4())
        jobs = [manifest for manifest in manifests if kind_of(manifest) is JOB]
        self._manifest = jobs[0]
        self._others = [manifest for manifest in manifests if manifest is not jobs[0]]
        self._namespace = api.namespace

    def submit(self, *, fresh: bool) -> Outcome:
        """Do what is left to do for the job."""
        for _ in range(TRIES):
            try:
                return self._decide(self._find(), fresh=fresh)
            except _Changed:
                continue
        raise LauncherError(f"job {self._spec.name} is being changed by others at the same time; submit again")

    def _find(self) -> Job | None:
        try:
            return Job(self._api.get(JOB, self._spec.name, self._namespace))
        except NotFound as error:
            if type(error) is not NotFound:
                raise
            return None

    def _decide(self, job: Job | None, *, fresh: bool) -> Outcome:
        if job is None:
            return self._start(None, fresh=fresh)
        if job.is_being_deleted:
            self._api.client.say(f"the earlier {job.name} is still being deleted; waiting for that")
            self._wait_until_gone(job)
            return self._start(None, fresh=fresh)
        state = self._view.state(job)
        if fresh:
            if not state.is_over:
                raise InvalidJob(
                    f"job {job.name} is {state}, and --fresh moves its results away\n"
                    f"stop it with `launcher cancel {job.name}`, then submit again"
                )
            return self._start(job, fresh=True)
        self._check_same_run(job)
        if not state.is_over:
            return self._leave_alone(job)
        if state is State.SUCCEEDED and not self._wants_more(job):
            return "already done"
        if state in (State.SUSPENDED, State.CANCELLED) and _holds(self._manifest["spec"], job.obj["spec"]):
            return self._resume(job)
        return self._start(job, fresh=False)

    def _check_same_run(self, job: Job) -> None:
        if job.digest == self._digest:
            return
        lines = [f"job {job.name} exists in namespace {self._namespace} with another specification:"]
        if job.digest is None:
            lines = [f"namespace {self._namespace} has a PyTorchJob {job.name} that the launcher did not make"]
        else:
            changes = diff(job.spec, self._spec.model_dump(mode="json"))
            lines += [f"  {change}" for change in changes or ["(written by another version of the launcher)"]]
        lines.append(
            "give this one a name of its own with --name NEW, or set the old results aside with --fresh "
            f"(after `launcher cancel {job.name}` if it runs)"
        )
        raise InvalidJob("\n".join(lines))

    def _leave_alone(self, job: Job) -> Outcome:
        _check_not_stopping(job)
        if self._wants_more(job):
            epochs = self._spec.train.epochs if self._spec.train else 0
            self._api.client.say(f"it runs to epoch {job.epochs}; submit again when it is over to go on to {epochs}")
        return "unchanged"

    def _wants_more(self, job: Job) -> bool:
        return bool(self._spec.train and job.epochs is not None and self._spec.train.epochs > job.epochs)

    def _resume(self, job: Job) -> Outcome:
        try:
            let_run(self._api, job, by=self._id)
        except (Conflict, NotFound) as error:
            raise _Changed from error
        return "resumed"

    def _start(self, old: Job | None, *, fresh: bool) -> Outcome:
        """Create the job, in place of an old object that is over."""
        job = self._marked(old)
        check_quota(self._api, Job(job), self._api.client.say)
        self._rehearse(job)
        if old is not None:
            self._replace(old)
        if fresh:
            self._set_aside(Job(job))
        made = self._create(job)
        if made.submitted_by != self._id:
            return "unchanged"
        return "resumed" if old is not None and not fresh else "created"

    def _marked(self, old: Job | None) -> Object:
        metadata = self._manifest["metadata"]
        marks = {SUBMISSION: str(old.submission + 1 if old else 1), SUBMITTED_BY: self._id}
        annotations = {**(metadata.get("annotations") or {}), **marks}
        return {**self._manifest, "metadata": {**metadata, "annotations": annotations}}

    def _rehearse(self, job: Object) -> None:
        """Let the server check everything before anything is changed; an object of the name is not an objection."""
        for manifest in [*self._others, job]:
            try:
                self._api.create(kind_of(manifest), manifest, self._namespace, dry_run=True)
            except Conflict as error:
                if error.answer.reason != "AlreadyExists":
                    raise

    def _replace(self, old: Job) -> None:
        """Delete the old object: results are elsewhere, and the next attempt goes on from them."""
        try:
            self._api.delete(JOB, old.name, self._namespace, uid=uid_of(old.obj))
        except NotFound:
            return
        except Conflict as error:
            raise _Changed from error
        self._wait_until_gone(old)

    def _wait_until_gone(self, old: Job) -> None:
        wait_until_gone(self._api, old, seconds=GONE_SECONDS)

    def _set_aside(self, job: Job) -> None:
        moved = ResultsReader(self._api, job).set_aside()
        if moved:
            self._api.client.say(f"moved the earlier results to {moved}")

    def _create(self, job: Object) -> Job:
        for manifest in self._others:
            if kind_of(manifest) is CLAIM:
                self._create_claim(manifest)
        owned = [manifest for manifest in self._others if kind_of(manifest) is not CLAIM]
        # What a pod needs must be there before the pod: without a queue's help the job waits for it suspended.
        held = bool(owned) and Job(job).queue is None
        made = self._create_job(_suspended(job) if held else job)
        if made.submitted_by == self._id:
            self._add(made, owned, release=held)
        return made

    def _create_claim(self, manifest: Object) -> None:
        """A claim outlives its job: one that is there is used."""
        try:
            self._api.create(CLAIM, manifest, self._namespace)
        except Conflict:
            self._api.client.say(f"the claim {name_of(manifest)} exists and is used as it is")

    def _create_job(self, job: Object) -> Job:
        """Create it; where one of the name exists, our own reply was lost, or somebody submitted at the same time."""
        try:
            return Job(self._api.create(JOB, job, self._namespace))
        except Conflict as error:
            there = self._find()
            if there is None or there.is_being_deleted:
                raise _Changed from error
            self._check_same_run(there)
            return there

    def _add(self, job: Job, owned: list[Object], *, release: bool) -> None:
        """Create what belongs to the job, then let it run; if that fails, the job goes away again."""
        try:
            for manifest in owned:
                metadata = {**manifest["metadata"], "ownerReferences": [owner_reference(job)]}
                self._create_owned({**manifest, "metadata": metadata})
            if release:
                change = {"metadata": {"uid": uid_of(job.obj)}, "spec": {"runPolicy": {"suspend": False}}}
                self._api.patch(JOB, job.name, self._namespace, change)
        except ApiError:
            self._api.delete(JOB, job.name, self._namespace, uid=uid_of(job.obj))
            raise

    def _create_owned(self, manifest: Object) -> None:
        """Create it; one that is there is a remainder of an earlier job, about to be removed with it, or our own."""
        kind = kind_of(manifest)
        try:
            self._api.create(kind, manifest, self._namespace)
        except Conflict:
            self._api.delete(kind, name_of(manifest), self._namespace)
            self._api.create(kind, manifest, self._namespace)


def resume(api: Api, view: View, name: str) -> Outcome:
    """Go on with a job as it was submitted.

    Raises:
        LauncherError: It is over for another reason than that somebody stopped it, or is still stopping.
    """
    job = view.job(name)
    state = view.state(job)
    if state not in (State.SUSPENDED, State.CANCELLED):
        if state.is_over:
            raise LauncherError(
                f"job {name} is {state}, not suspended; submit its file again to go on from its last checkpoint"
            )
        _check_not_stopping(job)
        return "unchanged"
    let_run(api, job, by=str(uuid.uuid4()))
    return "resumed"


def let_run(api: Api, job: Job, *, by: str) -> None:
    """Un-suspend this very object."""
    marks = {CANCELLED: None, SUBMISSION: str(job.submission + 1), SUBMITTED_BY: by}
    change = {"metadata": {"uid": uid_of(job.obj), "annotations": marks}, "spec": {"runPolicy": {"suspend": False}}}
    api.patch(JOB, job.name, job.namespace, change)


def _check_not_stopping(job: Job) -> None:
    if job.suspend and not job.queue:
        raise LauncherError(
            f"job {job.name} was stopped and is still saving its checkpoint\n"
            f"wait for that with `launcher wait {job.name}`, then go on with it"
        )


def _suspended(job: Object) -> Object:
    policy = {**(job["spec"].get("runPolicy") or {}), "suspend": True}
    return {**job, "spec": {**job["spec"], "runPolicy": policy}}


def _holds(wanted: Any, there: Any) -> bool:
    """Whether ``there`` has everything that is wanted; the server adds defaults, and suspending is no difference."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(
            key == "suspend" or (key in there and _holds(value, there[key])) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(there, list)
            and len(wanted) == len(there)
            and all(_holds(one, other) for one, other in zip(wanted, there, strict=True))
        )
    return bool(wanted == there)
