"""What a submit leaves on the PyTorchJob itself: the only place where the launcher keeps anything about a job."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from launcher.backends.kubernetes.kinds import Object, annotations_of, labels_of, name_of

PREFIX = "pytorchjob-launcher/"
DIGEST = PREFIX + "spec-digest"
RUN = PREFIX + "run"
"""On the pod template: the run file, which reaches the trainer through the downward API."""
SPEC = PREFIX + "spec"
"""The spec of a job without a run file: a script under torchrun."""
CANCELLED = PREFIX + "cancelled"
"""When somebody cancelled the job."""
SUBMISSION = PREFIX + "submission"
"""How often the job was started by a submit, this time included."""
SUBMITTED_BY = PREFIX + "submit-id"
"""Which submit made the object: tells a reply that was lost from a submit that came first."""

MANAGED_BY = "app.kubernetes.io/managed-by=pytorchjob-launcher"
JOB_NAME = "training.kubeflow.org/job-name"
REPLICA_INDEX = "training.kubeflow.org/replica-index"
OPERATOR_NAME = "training.kubeflow.org/operator-name=pytorchjob-controller"
QUEUE = "kueue.x-k8s.io/queue-name"
CONTAINER = "pytorch"


@dataclass(frozen=True)
class Job:
    """A PyTorchJob, read leniently: other tools make them too."""

    obj: Object

    @property
    def name(self) -> str:
        """Its name."""
        return name_of(self.obj)

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.obj["metadata"].get("namespace", ""))

    @property
    def digest(self) -> str | None:
        """Which run it is; None where the launcher did not make it."""
        return annotations_of(self.obj).get(DIGEST)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The spec that was submitted, without defaults; empty where it cannot be read."""
        run_file = _json((self.template.get("metadata", {}).get("annotations") or {}).get(RUN))
        spec = run_file.get("spec") or _json(annotations_of(self.obj).get(SPEC))
        return spec if isinstance(spec, dict) else {}

    @property
    def epochs(self) -> int | None:
        """How many epochs it trains; None for a job with its own command."""
        train = self.spec.get("train")
        epochs = train.get("epochs") if isinstance(train, dict) else None
        return epochs if isinstance(epochs, int) else None

    @property
    def workers(self) -> Object:
        """The replicas that train."""
        replicas = self.obj.get("spec", {}).get("pytorchReplicaSpecs") or {}
        return replicas.get("Worker") or next(iter(replicas.values()), {})

    @property
    def template(self) -> Object:
        """Their pod template."""
        template: Object = self.workers.get("template") or {}
        return template

    @property
    def container(self) -> Object:
        """The container that trains."""
        containers = self.template.get("spec", {}).get("containers") or [{}]
        found: Object = next((one for one in containers if one.get("name") == CONTAINER), containers[0])
        return found

    @property
    def runs_under_torchrun(self) -> bool:
        """Whether torchrun runs a script of the user's, and no supervisor of ours."""
        return RUN not in (self.template.get("metadata", {}).get("annotations") or {})

    @property
    def nodes(self) -> int:
        """How many pods it has."""
        replicas = (self.obj.get("spec", {}).get("pytorchReplicaSpecs") or {}).values()
        return sum(int(one.get("replicas") or 1) for one in replicas) or 1

    @property
    def stated_nodes(self) -> int:
        """The same as it is written: `kubectl scale` may have set 0."""
        replicas = (self.obj.get("spec", {}).get("pytorchReplicaSpecs") or {}).values()
        return sum(1 if one.get("replicas") is None else int(one["replicas"]) for one in replicas)

    @property
    def least_nodes(self) -> int:
        """Pods that it needs at least: fewer than it has in an elastic job only."""
        elastic = self.obj.get("spec", {}).get("elasticPolicy") or {}
        return int(elastic.get("minReplicas") or self.nodes)

    @property
    def mended_replicas(self) -> dict[str, Any]:
        """What to change in the spec of a job that was scaled to 0; empty for others.

        The operator's webhook refuses every other change of such a job, the one that ends its deletion too.
        """
        return {} if self.stated_nodes else {"pytorchReplicaSpecs": {"Worker": {"replicas": self.least_nodes}}}

    @property
    def ranks_per_node(self) -> int:
        """Processes of each pod; 1 where only the pod will know."""
        text = str(self.obj.get("spec", {}).get("nprocPerNode", "1"))
        return int(text) if text.isdecimal() else 1

    @property
    def suspend(self) -> bool:
        """Whether it shall not run for now."""
        return bool((self.obj.get("spec", {}).get("runPolicy") or {}).get("suspend"))

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody cancelled it."""
        return bool(annotations_of(self.obj).get(CANCELLED))

    @property
    def is_being_deleted(self) -> bool:
        """Whether it goes away once all that it owns has."""
        return bool(self.obj["metadata"].get("deletionTimestamp"))

    @property
    def queue(self) -> str | None:
        """The Kueue queue that decides when it runs."""
        return labels_of(self.obj).get(QUEUE)

    @property
    def submission(self) -> int:
        """How often it was started by a submit."""
        text = annotations_of(self.obj).get(SUBMISSION, "1")
        return int(text) if text.isdecimal() else 1

    @property
    def submitted_by(self) -> str | None:
        """Which submit started it last."""
        return annotations_of(self.obj).get(SUBMITTED_BY)

    @property
    def status(self) -> Object:
        """What the operator says of it."""
        status: Object = self.obj.get("status") or {}
        return status

    def condition(self, kind: str) -> Object | None:
        """The condition of that type, where it is true."""
        found = [one for one in self.status.get("conditions") or [] if one.get("type") == kind]
        return next((one for one in found if one.get("status") == "True"), None)

    @property
    def has_run(self) -> bool:
        """Whether its pods have run since it was started last."""
        if self.condition("Suspended"):  # the operator keeps Running, as false
            return any(one.get("type") == "Running" for one in self.status.get("conditions") or [])
        return any(self.condition(kind) for kind in ("Running", "Restarting", "Succeeded", "Failed"))

    @property
    def results_folder(self) -> str:
        """Its results folder, as its pods see it."""
        named = [one.get("value") for one in self.container.get("env") or [] if one.get("name") == "RESULTS_DIR"]
        return str(named[0]) if named and named[0] else f"/results/{self.namespace}/{self.name}"

    @property
    def results_claim(self) -> tuple[str, str] | None:
        """The claim that holds the results folder, and where it is mounted; None where there is no claim."""
        claims = {
            volume.get("name"): (volume.get("persistentVolumeClaim") or {}).get("claimName")
            for volume in self.template.get("spec", {}).get("volumes") or []
        }
        above = [
            (str(mount.get("mountPath")), str(claims[mount.get("name")]))
            for mount in self.container.get("volumeMounts") or []
            if claims.get(mount.get("name")) and f"{self.results_folder}/".startswith(f"{mount.get('mountPath')}/")
        ]
        path, claim = max(above, key=lambda mount: len(mount[0]), default=("", ""))
        return (claim, path) if claim else None

    @property
    def results(self) -> str:
        """Its results folder, as a person finds it."""
        if self.results_claim is None:
            return f"{self.results_folder} (in the pod only)"
        claim, path = self.results_claim
        return f"pvc/{claim}/{PurePosixPath(self.results_folder).relative_to(path)}"


def _json(text: str | None) -> dict[str, Any]:
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
