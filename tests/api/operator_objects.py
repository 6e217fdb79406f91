"""The objects that the training operator makes of a PyTorchJob, with its names and labels."""

from datetime import UTC, datetime

from tests.api.rest import Object

OPERATOR = "pytorchjob-controller"
LABELS = "training.kubeflow.org"


def now() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def workers(job: Object) -> int:
    """How many workers the job asks for."""
    return int(job["spec"]["pytorchReplicaSpecs"]["Worker"].get("replicas", 1))


def pod_name(job: str, index: int) -> str:
    """The operator's name for a worker's pod and service."""
    return f"{job}-worker-{index}"


def pod_of(job: Object, index: int) -> Object:
    """The pod that the operator makes of a job's template."""
    template = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    given = template.get("metadata", {})
    metadata = _metadata(job, index) | {"annotations": given.get("annotations", {})}
    metadata["labels"] = {**given.get("labels", {}), **metadata["labels"]}
    spec = {**template["spec"], "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def service_of(job: Object, index: int) -> Object:
    """The headless service that the operator makes for a worker."""
    metadata = _metadata(job, index)
    port = {"name": "pytorchjob-port", "port": 23456}
    spec = {"clusterIP": "None", "selector": metadata["labels"], "ports": [port]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _metadata(job: Object, index: int) -> Object:
    name = job["metadata"]["name"]
    labels = {
        f"{LABELS}/operator-name": OPERATOR,
        f"{LABELS}/job-name": name,
        f"{LABELS}/replica-type": "worker",
        f"{LABELS}/replica-index": str(index),
    }
    if index == 0:
        labels[f"{LABELS}/job-role"] = "master"
    owner = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "name": name,
        "uid": job["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    place = {"name": pod_name(name, index), "namespace": job["metadata"]["namespace"]}
    return {**place, "labels": labels, "ownerReferences": [owner]}
