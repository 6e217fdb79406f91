"""A kubelet for reader pods: runs their command on this machine, with a folder in the place of the claim."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.api.background import repeating
from tests.api.cluster_actor import ClusterActor
from tests.api.fake_kubelet import FakeKubelet
from tests.api.operator_objects import now
from tests.api.rest import ApiError, Object

READER = "app.kubernetes.io/name=pytorchjob-results-reader"
Damage = Callable[[bytes], bytes]


@contextmanager
def reader_kubelet(actor: ClusterActor, kubelet: FakeKubelet, claim: Path, *damages: Damage) -> Iterator[list[Object]]:
    """Runs each reader pod; the n-th one's output passes through the n-th of ``damages``. Gives the pods that ran."""
    ran: list[Object] = []

    def run(pod: Object) -> None:
        ran.append(pod)
        _run(actor, kubelet, pod, claim, damages[len(ran) - 1] if len(ran) <= len(damages) else None)

    with _each_reader(actor, run):
        yield ran


@contextmanager
def unpullable_reader(actor: ClusterActor) -> Iterator[None]:
    """Reader pods whose image is not to be had."""
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}

    def refuse(pod: Object) -> None:
        _set_status(actor, pod, "Pending", waiting)

    with _each_reader(actor, refuse):
        yield


@contextmanager
def _each_reader(actor: ClusterActor, act: Callable[[Object], None]) -> Iterator[None]:
    """Does ``act`` once with each reader pod that appears."""
    seen: set[str] = set()

    def look() -> None:
        for pod in actor.rest.list("Pod", actor.namespace, labels=READER):
            if pod["metadata"]["uid"] not in seen:
                seen.add(pod["metadata"]["uid"])
                with suppress(ApiError):  # deleted meanwhile
                    act(pod)

    actor.node("node-0", gpus=0)
    with repeating(look):
        yield


def _run(actor: ClusterActor, kubelet: FakeKubelet, pod: Object, claim: Path, damage: Damage | None) -> None:
    container = pod["spec"]["containers"][0]
    mount = container["volumeMounts"][0]["mountPath"]
    _python, *arguments = container["command"]
    here = [str(claim / word.removeprefix(f"{mount}/")) if word.startswith(f"{mount}/") else word for word in arguments]
    done = subprocess.run([sys.executable, *here], capture_output=True, check=True, timeout=60)
    name = pod["metadata"]["name"]
    kubelet.write(actor.namespace, name, damage(done.stdout) if damage else done.stdout, container="reader")
    kubelet.end(actor.namespace, name, container="reader")
    binding = {"metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": "node-0"}}
    body = {"apiVersion": "v1", "kind": "Binding", **binding}
    actor.rest.request("POST", f"api/v1/namespaces/{actor.namespace}/pods/{name}/binding", body)
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now(), "finishedAt": now()}}
    _set_status(actor, pod, "Succeeded", ended)


def _set_status(actor: ClusterActor, pod: Object, phase: str, state: Object) -> None:
    status = {"name": "reader", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    change = {"phase": phase, "containerStatuses": [status]}
    actor.rest.patch_status("Pod", pod["metadata"]["name"], actor.namespace, change)
