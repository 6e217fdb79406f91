"""Plays the operator, the scheduler and the kubelet on real objects, so that a test decides what happens and when.

The texts, reasons and the order of conditions are those of the training operator v1.9.
"""

from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.api.operator_objects import LABELS, OPERATOR, now, pod_name, pod_of, service_of, workers
from tests.api.rest import ApiError, Object, Rest

_EVENT_NUMBERS = count(1)


@dataclass(frozen=True)
class ClusterActor:
    """Stages states of jobs in one namespace. A job is named by its name; each call reads the object afresh."""

    rest: Rest
    namespace: str
    kubelet_port: int

    # --- nodes -----------------------------------------------------------------------------------------------------

    def node(self, name: str, *, gpus: int = 8, cpu: str = "64", memory: str = "512Gi", **spec: Any) -> Object:
        """A Ready node; ``spec`` may hold taints or ``unschedulable``. Nodes belong to the whole control plane."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}
        self.rest.apply(node)
        resources = {"cpu": cpu, "memory": memory, "pods": "110"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
        status = {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now()}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet_port}},
        }
        return self.rest.patch_status("Node", name, None, status)

    # --- the operator ----------------------------------------------------------------------------------------------

    def accept(self, job: str) -> list[str]:
        """The operator's first pass, or its next try: what is missing of pods, then of services; the pods it made.

        Where the server refuses a pod (quota, Pod Security) the pass ends there: the job gets an event with the
        server's words, but no service and no status, not even the condition Created.
        """
        obj = self.job(job)
        made: list[str] = []
        for index in self._missing("Pod", obj):
            try:
                self.rest.create(pod_of(obj, index))
            except ApiError as refusal:
                self.event(obj, "FailedCreatePod", f"Error creating: {refusal.message}")
                return made
            made.append(pod_name(job, index))
            self.event(obj, "SuccessfulCreatePod", f"Created pod: {made[-1]}", "Normal")
        for index in self._missing("Service", obj):
            self.rest.create(service_of(obj, index))
        self.condition(job, "Created", f"PyTorchJob {job} is created.", startTime=now())
        return made

    def _missing(self, kind: str, job: Object) -> list[int]:
        there = {obj["metadata"]["name"] for obj in self.rest.list(kind, self.namespace)}
        return [index for index in range(workers(job)) if pod_name(job["metadata"]["name"], index) not in there]

    def run(self, job: str, *, node: str = "node-0") -> None:
        """All pods bound to ``node``, Running and Ready; the job Running."""
        for pod in self.pods(job):
            self._bind(pod, node)
            self._pod_status(pod, "Running", {"running": {"startedAt": now()}}, ready=True)
        self._running(job)

    def succeed(self, job: str, message: str = "") -> None:
        """All pods Succeeded, the job too. ``message`` is the termination message of worker 0."""
        for index, pod in enumerate(self.pods(job)):
            ended = _terminated(0, "Completed", message if index == 0 else "")
            self._pod_status(pod, "Succeeded", ended)
        done = len(self.pods(job))
        self._finish(job, "Succeeded", f"PyTorchJob {self.namespace}/{job} successfully completed.", succeeded=done)

    def fail(self, job: str, index: int, exit_code: int, message: str = "", reason: str = "Error") -> None:
        """Worker ``index`` Failed with a final code, the job Failed; the other pods are not deleted yet.

        Of a job that ends so the operator writes no ``completionTime``.
        """
        self.fail_pod(job, index, exit_code, message, reason)
        text = f'job "{job}" is failing because "Worker" replica(s) failed.'
        self._finish(job, "Failed", text, failed=1, event_type="Warning", completed=False)

    def fail_pod(self, job: str, index: int, exit_code: int, message: str = "", reason: str = "Error") -> None:
        """Worker ``index`` Failed; the operator has not looked yet."""
        pod = self.pods(job)[index]
        self._pod_status(pod, "Failed", _terminated(exit_code, reason, message))

    def deadline(self, job: str) -> None:
        """The job Failed for its ``activeDeadlineSeconds``; the running pods are gone."""
        for pod in self.pods(job):
            self.remove(pod)
        text = f"Job {job} has failed because it was active longer than specified deadline"
        self._finish(job, "Failed", text, event_type="Normal")

    def restart_job(self, job: str, index: int, exit_code: int) -> None:
        """What the operator does after a retryable code: condition Restarting, the pod deleted and made again."""
        obj = self.job(job)
        text = f"PyTorchJob {job} is restarting because 1 Worker replica(s) failed."
        exited = f"Pod: {self.namespace}.{pod_name(job, index)} exited with code {exit_code}"
        self.event(obj, "ExitedWithCode", exited, "Normal")
        self.condition(job, "Restarting", text)
        self.event(obj, "PyTorchJobRestarting", text)
        self.remove(self.pods(job)[index])
        self.rest.create(pod_of(obj, index))

    def suspend(self, job: str) -> None:
        """What the operator does once ``spec.suspend`` is true: the pods go, Suspended becomes true."""
        assert self.job(job)["spec"]["runPolicy"]["suspend"] is True, "nobody asked for a suspension"
        for pod in self.pods(job):
            self.remove(pod)
        text = f"PyTorchJob {job} is suspended."
        if _true(self.job(job), "Running"):
            self.condition(job, "Running", text, status="False", reason="PyTorchJobSuspended")
        self.condition(job, "Suspended", text)

    def resume(self, job: str) -> None:
        """What the operator does once ``spec.suspend`` is false again: pods are made, Suspended becomes false."""
        assert self.job(job)["spec"]["runPolicy"].get("suspend") is not True, "the job is still suspended"
        text = f"PyTorchJob {job} is resumed."
        for index in range(workers(self.job(job))):
            self.rest.create(pod_of(self.job(job), index))
        self.condition(job, "Suspended", text, status="False", reason="PyTorchJobResumed", startTime=now())

    # --- scheduler and kubelet -------------------------------------------------------------------------------------

    def unschedulable(self, job: str, message: str) -> None:
        """No node fits: each pod says so, with an event."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        for pod in self.pods(job):
            self.rest.patch_status("Pod", pod["metadata"]["name"], self.namespace, {"conditions": [condition]})
            self.event(pod, "FailedScheduling", message)
            self._abnormal(job, pod, "Unschedulable", f"condition message: {message}")

    def waiting(self, job: str, index: int, reason: str, message: str = "", *, node: str = "node-0") -> None:
        """Worker ``index`` is bound to a node and its container waits, for its image for one."""
        pod = self.pods(job)[index]
        self._bind(pod, node)
        self._pod_status(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
        self.event(pod, "Failed", message)
        self._abnormal(job, pod, reason, f"container pytorch waiting message: {message}")

    def restart_in_place(self, job: str, index: int, exit_code: int, message: str = "") -> None:
        """The container ended and runs again in the same pod."""
        pod = self.pods(job)[index]
        restarts = pod["status"]["containerStatuses"][0]["restartCount"] + 1
        running = {"running": {"startedAt": now()}}
        last = _terminated(exit_code, "Error", message)
        self._pod_status(pod, "Running", running, ready=True, restarts=restarts, last=last)

    def evict(self, job: str, index: int, message: str) -> None:
        """Worker ``index`` is evicted: Failed, without a container's status."""
        pod = self.pods(job)[index]
        status = {"phase": "Failed", "reason": "Evicted", "message": message, "containerStatuses": None}
        self.rest.patch_status("Pod", pod["metadata"]["name"], self.namespace, status)
        self.event(pod, "Evicted", message)

    def finish_deletions(self) -> None:
        """What the kubelet does: pods that are being deleted go away."""
        for pod in self.rest.list("Pod", self.namespace):
            if "deletionTimestamp" in pod["metadata"]:
                self.remove(pod)

    def remove(self, pod: Object) -> None:
        """Remove a pod at once."""
        self.rest.delete("Pod", pod["metadata"]["name"], self.namespace, grace_seconds=0)

    # --- parts -----------------------------------------------------------------------------------------------------

    def job(self, name: str) -> Object:
        """The job as it is now."""
        return self.rest.get("PyTorchJob", name, self.namespace)

    def pods(self, job: str) -> list[Object]:
        """The job's pods in the order of their index."""
        found = self.rest.list("Pod", self.namespace, labels=f"{LABELS}/job-name={job}")
        return sorted(found, key=lambda pod: int(pod["metadata"]["labels"][f"{LABELS}/replica-index"]))

    def condition(
        self, job: str, kind: str, message: str, *, status: str = "True", reason: str = "", **more: Any
    ) -> None:
        """Set a condition as the operator does: the newest last, Running and Restarting replacing each other."""
        old = self.job(job).get("status", {}).get("conditions", [])
        gone = {kind} | ({"Running", "Restarting"} if kind in ("Running", "Restarting") else set())
        kept = [_ended(one, kind) for one in old if one["type"] not in gone]
        time = now()
        new = {"type": kind, "status": status, "reason": reason or f"PyTorchJob{kind}", "message": message}
        times = {"lastUpdateTime": time, "lastTransitionTime": time}
        self.rest.patch_status("PyTorchJob", job, self.namespace, {"conditions": [*kept, new | times], **more})

    def event(self, about: Object, reason: str, message: str, kind: str = "Warning") -> None:
        """An event on an object."""
        metadata = about["metadata"]
        involved = {"apiVersion": about["apiVersion"], "kind": about["kind"], "uid": metadata["uid"]}
        time = now()
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{next(_EVENT_NUMBERS):x}", "namespace": self.namespace},
            "involvedObject": {**involved, "name": metadata["name"], "namespace": self.namespace},
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": OPERATOR},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        self.rest.create(event)

    def _abnormal(self, job: str, pod: Object, reason: str, words: str) -> None:
        """The operator repeats on the job what its pods wait for."""
        self.event(self.job(job), reason, f"Error pod {pod['metadata']['name']} {words}")

    def _running(self, job: str) -> None:
        status = {"Worker": {"active": len(self.pods(job))}}
        message = f"PyTorchJob {self.namespace}/{job} is running."
        self.condition(job, "Running", message, replicaStatuses=status)

    def _finish(
        self, job: str, kind: str, message: str, *, event_type: str = "Normal", completed: bool = True, **counts: int
    ) -> None:
        end: dict[str, Any] = {"completionTime": now()} if completed else {}
        if counts:
            end["replicaStatuses"] = {"Worker": {"active": 0, **counts}}
        self.condition(job, kind, message, **end)
        self.event(self.job(job), f"PyTorchJob{kind}", message, event_type)

    def _bind(self, pod: Object, node: str) -> None:
        if pod["spec"].get("nodeName"):
            return
        name = pod["metadata"]["name"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self.rest.request("POST", f"api/v1/namespaces/{self.namespace}/pods/{name}/binding", binding)

    def _pod_status(
        self,
        pod: Object,
        phase: str,
        state: Object,
        *,
        ready: bool = False,
        restarts: int | None = None,
        last: Object | None = None,
    ) -> None:
        before = (pod["status"].get("containerStatuses") or [{}])[0]
        container = {
            "name": "pytorch",
            "image": pod["spec"]["containers"][0]["image"],
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": before.get("restartCount", 0) if restarts is None else restarts,
            "state": state,
            "lastState": last or before.get("lastState", {}),
        }
        flag = "True" if ready else "False"
        conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": flag}]
        status = {"phase": phase, "conditions": conditions, "containerStatuses": [container]}
        self.rest.patch_status("Pod", pod["metadata"]["name"], self.namespace, status)


def _terminated(exit_code: int, reason: str, message: str) -> Object:
    ended = {"exitCode": exit_code, "reason": reason, "message": message, "startedAt": now(), "finishedAt": now()}
    return {"terminated": ended}


def _true(job: Object, kind: str) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def _ended(condition: Object, new_kind: str) -> Object:
    """Running becomes false when the job ends."""
    over = new_kind in ("Succeeded", "Failed") and condition["type"] == "Running"
    return {**condition, "status": "False"} if over else condition
