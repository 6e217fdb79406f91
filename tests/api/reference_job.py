"""A small PyTorchJob that a `restricted` namespace accepts, for tests that need one and do not render it."""

from copy import deepcopy
from typing import Any

from tests.api.rest import Object

_POD_SPEC: Object = {
    "automountServiceAccountToken": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "pytorch",
            "image": "registry.example/trainer:1",
            "ports": [{"name": "pytorchjob-port", "containerPort": 23456}],
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


def reference_pod(name: str, namespace: str, *, gpus: int = 0, **security: Any) -> Object:
    """A pod; ``security`` replaces parts of its container's security context."""
    spec = deepcopy(_POD_SPEC)
    container = spec["containers"][0]
    container["securityContext"].update(security)
    if gpus:
        container["resources"]["limits"]["nvidia.com/gpu"] = str(gpus)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def reference_job(name: str, namespace: str, *, workers: int = 2, gpus: int = 0) -> Object:
    """A job of ``workers`` such pods."""
    template = {"spec": reference_pod(name, namespace, gpus=gpus)["spec"]}
    worker = {"replicas": workers, "restartPolicy": "ExitCode", "template": template}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nprocPerNode": str(gpus or 1),
            "runPolicy": {"cleanPodPolicy": "Running", "suspend": False},
            "pytorchReplicaSpecs": {"Worker": worker},
        },
    }
