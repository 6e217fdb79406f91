"""Small PyTorchJobs as the administrator creates them, without the launcher, to see what operator and kubelet do."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.base import IMAGE, Cluster, Kubectl, KubectlFailed
from tests.cluster.team import create_team

Object = dict[str, Any]
LABELS = "training.kubeflow.org"
GRACE_SECONDS = 2
# On a busy machine a pod takes a minute to start; what must be fast is measured by the cluster's own times.
PATIENCE_SECONDS = 120
# Ends at once when it is asked to; the first process of a container is asked in vain unless it handles the signal.
SLEEP = 'trap "exit 143" TERM; sleep 600 & wait'
RETRYABLE_IN_PLACE = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [134, 137, 138, 139, 143]}}]


def on_worker(index: int, script: str, *, others: str = SLEEP) -> str:
    """A shell script that does ``script`` on one worker and ``others`` on the rest."""
    return f'if [ "${{HOSTNAME##*-}}" = {index} ]; then {script}; else {others}; fi'


def container(script: str, *, rules: bool = False, **fields: Any) -> Object:
    """The container ``pytorch`` that runs a shell script in the restricted profile."""
    in_place = {"restartPolicy": "Never", "restartPolicyRules": RETRYABLE_IN_PLACE} if rules else {}
    return {
        "name": "pytorch",
        "image": os.environ.get("IMAGE", IMAGE),
        "command": ["sh", "-c", script],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **in_place,
        **fields,
    }


def replica(script: str, replicas: int = 1, *, pod: Object | None = None, **fields: Any) -> Object:
    """A replica spec with the restart policy that the chart uses."""
    secure = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "containers": [container(script, **fields)],
        "securityContext": secure,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **(pod or {}),
    }
    return {"replicas": replicas, "restartPolicy": "ExitCode", "template": {"spec": spec}}


def job(
    name: str, worker: Object, *, master: Object | None = None, policy: Object | None = None, **spec: Any
) -> Object:
    """A PyTorchJob with the run policy that the chart sets, and changes."""
    replicas = {"Worker": worker, **({"Master": master} if master else {})}
    run_policy = {"cleanPodPolicy": "Running", "backoffLimit": 100, **(policy or {})}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name},
        "spec": {"nprocPerNode": "1", "pytorchReplicaSpecs": replicas, "runPolicy": run_policy, **spec},
    }


@dataclass(frozen=True)
class Seen:
    """What can be seen of the jobs of one namespace."""

    kubectl: Kubectl

    def create(self, *objects: Object) -> None:
        """Create them."""
        self._past_the_webhook(lambda: self.kubectl.apply(objects))

    def change(self, name: str, spec: Object) -> None:
        """Merge ``spec`` into that of a job."""
        change = json.dumps({"spec": spec})
        self._past_the_webhook(lambda: self.kubectl("patch", "pytorchjob", name, "--type=merge", f"--patch={change}"))

    def _past_the_webhook(self, write: Callable[[], object]) -> None:
        """Write; the operator's webhook may be away for a moment, where it is busy or another test restarts it."""
        end = time.monotonic() + 90
        while True:
            try:
                write()
            except KubectlFailed as failure:
                if "failed calling webhook" not in str(failure) or time.monotonic() > end:
                    raise
            else:
                return
            time.sleep(1)

    def job(self, name: str) -> Object:
        """The job."""
        return self.kubectl.json("get", "pytorchjob", name)

    def condition(self, name: str, kind: str) -> Object | None:
        """The condition of the type, where it is true."""
        true = [one for one in self.conditions(name) if one["status"] == "True"]
        return next((one for one in true if one["type"] == kind), None)

    def conditions(self, name: str) -> list[Object]:
        """All conditions, in the operator's order."""
        found: list[Object] = self.job(name).get("status", {}).get("conditions") or []
        return found

    def pods(self, job: str) -> dict[str, Object]:
        """The job's pods: ``worker-0`` -> pod."""
        found = self.kubectl.items("get", "pods", "--selector", f"{LABELS}/job-name={job}")
        return {pod["metadata"]["name"].removeprefix(f"{job}-"): pod for pod in found}

    def pod(self, name: str) -> Object:
        """One pod, once it is there."""

        def found() -> list[Object]:
            return self.kubectl.items("get", "pods", f"--field-selector=metadata.name={name}")

        pods: list[Object] = self.until(found, f"pod {name} is there")
        return pods[0]

    def services(self, job: str) -> list[str]:
        """Names of the job's services."""
        found = self.kubectl.items("get", "services", "--selector", f"{LABELS}/job-name={job}")
        return [one["metadata"]["name"] for one in found]

    def events(self, kind: str, name: str) -> list[Object]:
        """Events about an object."""
        fields = f"involvedObject.kind={kind},involvedObject.name={name}"
        return self.kubectl.items("get", "events", "--field-selector", fields)

    def log(self, pod: str, *options: str) -> str:
        """What a pod printed."""
        return self.kubectl("logs", pod, *options)

    def until(self, condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until ``condition`` holds; its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}\n{self._everything()}"
            time.sleep(0.3)
        return value

    def until_is(self, name: str, kind: str, *, seconds: float = PATIENCE_SECONDS) -> Object:
        """Wait until the job has the condition."""
        found: Object = self.until(lambda: self.condition(name, kind), f"{name} is {kind}", seconds=seconds)
        return found

    def until_running(self, name: str, pods: int) -> dict[str, Object]:
        """Wait until so many of its pods run."""

        def running() -> dict[str, Object]:
            found = self.pods(name)
            count = sum(pod["status"].get("phase") == "Running" for pod in found.values())
            return found if count == pods else {}

        found: dict[str, Object] = self.until(running, f"{pods} pods of {name} run")
        return found

    def exit_code_on_deletion(self, pod: str) -> int:
        """Delete a pod; the exit code that its container ends with, which is shown for a moment only."""
        code = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}{'\\n'}"
        with self.kubectl.start("get", "pod", pod, "--watch", f"--output={code}") as watch:
            assert watch.stdout
            watch.stdout.readline()
            self.kubectl("delete", "pod", pod)
            watch.terminate()
            return int(watch.stdout.read().split()[0])

    def _everything(self) -> str:
        shown = self.kubectl.run("get", "pytorchjobs,pods,services", "--output=wide").stdout
        return shown + self.kubectl.run("get", "events", "--sort-by=.lastTimestamp").stdout[-6000:]


@contextmanager
def namespace(cluster: Cluster, name: str, folder: Path, jobs: Iterable[Object]) -> Iterator[Seen]:
    """A team's namespace in which all ``jobs`` start at once."""
    team = create_team(cluster, f"{name}-{os.getpid()}", folder)
    try:
        seen = Seen(team.admin)
        seen.create(*jobs)
        yield seen
    finally:
        team.delete()


def status_of(pod: Object) -> Object:
    """The status of its container."""
    found: Object = pod["status"]["containerStatuses"][0]
    return found


def uid(obj: Object) -> str:
    """Its uid."""
    return str(obj["metadata"]["uid"])
