"""The Kubernetes backend as one user in one namespace, with the scripted cluster around it, for the API tests."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.backends.base import JobStatus, State, Submission
from launcher.backends.kubernetes.backend import KubernetesBackend
from launcher.backends.kubernetes.client import Timeouts
from launcher.backends.kubernetes.kubeconfig import Target
from launcher.backends.kubernetes.retry import Policy
from launcher.backends.kubernetes.watching import Pace
from launcher.job.placement import Placement
from launcher.job.spec import JobSpec
from tests.api.background import repeating
from tests.api.cluster_actor import ClusterActor
from tests.api.rest import ApiError, Object
from tests.unit.fake_jobs import digits_spec

WAIT_SECONDS = 30.0
QUICK = Policy(first_seconds=0.02, cap_seconds=0.1, deadline_seconds=15.0)
PACE = Pace(window=1.0, silence=2.0, pause=0.02, longest_pause=0.1)
IMAGE = "registry.example/trainer:1"


class Jobs:
    """A backend for ``kubeconfig``, and what it said on the way."""

    def __init__(self, kubeconfig: Path | None, **options: Any) -> None:
        self.said: list[str] = []
        given = {"policy": QUICK, "pace": PACE, "timeouts": Timeouts(), **options}
        self.backend = KubernetesBackend(
            Target(kubeconfig=str(kubeconfig) if kubeconfig else None), say=self.said.append, **given
        )

    def submit(self, *, fresh: bool = False, pods: int = 2, **changes: Any) -> Submission:
        """Submit the digits job as ``pods`` pods of one rank."""
        given = {"name": "digits", "image": IMAGE, "processes": pods, **changes}
        spec = JobSpec.model_validate_json(json.dumps(given)) if "command" in given else digits_spec(**given)
        return self.backend.submit(spec, Placement(nodes=pods, ranks_per_node=1), fresh=fresh)

    def get(self, name: str = "digits") -> JobStatus:
        return self.backend.get(name)


def bring_to(actor: ClusterActor, jobs: Jobs, standing: str) -> None:
    """Submit the digits job and let the cluster bring it to ``standing``."""
    jobs.submit()
    if standing == "created":
        return
    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.run("digits")
    if standing == "failed":
        actor.fail("digits", 0, 3, '{"code": 3, "cause": "no such folder: /data", "rank": 0}')
        for pod in actor.pods("digits")[1:]:
            actor.remove(pod)  # cleanPodPolicy: Running
    elif standing == "succeeded":
        actor.succeed("digits", '{"code": 0, "cause": "done", "metrics": {"accuracy": 0.97}}')
    elif standing in ("suspended", "cancelled"):
        with cluster(actor):
            stop = jobs.backend.suspend if standing == "suspended" else jobs.backend.cancel
            assert stop("digits", grace_seconds=10).state == State(standing.capitalize())


@contextmanager
def cluster(actor: ClusterActor) -> Iterator[None]:
    """An operator that acts on suspend and a kubelet that ends deleted pods, for as long as the block runs."""

    def act() -> None:
        for job in actor.rest.list("PyTorchJob", actor.namespace):
            _react(actor, job)
        actor.finish_deletions()

    with repeating(act):
        yield


def _react(actor: ClusterActor, job: Object) -> None:
    conditions = {one["type"]: one["status"] for one in job.get("status", {}).get("conditions", [])}
    wanted = bool(job["spec"]["runPolicy"].get("suspend"))
    is_suspended = conditions.get("Suspended") == "True"
    try:
        if wanted and not is_suspended:
            actor.suspend(job["metadata"]["name"])
        elif is_suspended and not wanted:
            actor.resume(job["metadata"]["name"])
    except (ApiError, AssertionError):
        pass  # deleted, or changed again, meanwhile: the next look shows


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until ``condition`` is true; what it gave."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
    return value
