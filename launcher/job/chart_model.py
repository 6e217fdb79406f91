"""The values of charts/pytorchjob: its values.yaml, values.schema.json and README are generated from these models."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.alias_generators import to_camel

from launcher.job.field_types import (
    AbsolutePath,
    ComputeResource,
    DnsName,
    DnsSubdomain,
    EnvName,
    ImageName,
    LabelKey,
    LabelValue,
    Quantity,
    SecretDataKey,
    Text,
)
from trainer.config.base import Config

LIMIT_OF_ANNOTATIONS = 240_000
"""Characters of the run file; Kubernetes allows 262,144 bytes of annotations on an object."""


class Values(Config):
    """A mapping of values.yaml: the same rules as job.yaml, with keys in Helm's camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class SecretKeyValue(Values):
    """One entry of a Secret."""

    secret: DnsSubdomain
    """Name of the Secret."""
    key: SecretDataKey
    """The entry in it."""


def _kind_of_variable(value: Any) -> str:
    return "secret" if isinstance(value, dict | SecretKeyValue) else "text"


def _not_the_launchers(name: str) -> str:
    if name.startswith("PET_") or name == "RESULTS_DIR":
        raise ValueError("is set by the chart")
    return name


EnvValue = Annotated[
    Annotated[Text, Tag("text")] | Annotated[SecretKeyValue, Tag("secret")], Discriminator(_kind_of_variable)
]
Variable = Annotated[EnvName, AfterValidator(_not_the_launchers)]


Environment = dict[Variable, EnvValue | None]


class PullSecret(Values):
    """A Secret with the credentials of a private registry."""

    name: DnsSubdomain
    """Name of the Secret."""


class Elastic(Values):
    """Bounds of an elastic job."""

    min_replicas: Annotated[int, Field(ge=1)]
    """Pods that it needs at least."""
    max_replicas: Annotated[int, Field(ge=1)]
    """Pods that it uses at most."""


class ResourceLists(Values):
    """Requests and limits of each pod."""

    requests: dict[ComputeResource, Quantity] = Field({})
    """Such as {cpu: "8", memory: 32Gi, nvidia.com/gpu: "1"}."""
    limits: dict[ComputeResource, Quantity] = Field({})
    """The same; of GPUs Kubernetes wants limits that equal the requests."""


class CreateClaim(Values):
    """A PersistentVolumeClaim that the chart creates and never deletes."""

    size: Quantity
    """Its size, such as 100Gi."""
    storage_class: DnsSubdomain | None = None
    """Its storage class; null takes the cluster's default one."""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"] = "ReadWriteMany"
    """Several pods need ReadWriteMany."""


class ResultsVolume(Values):
    """Where the results folder <path>/<namespace>/<release> lies."""

    claim: DnsName = "results"
    """PersistentVolumeClaim that holds the results."""
    path: AbsolutePath = "/results"
    """Where it is mounted."""
    create: CreateClaim | None = None
    """Create the claim (size, storageClass, accessMode) instead of using one that exists. It outlives the release."""


class DataVolume(Values):
    """A claim with data."""

    name: DnsName
    """Name of the volume."""
    claim: DnsName
    """PersistentVolumeClaim behind it."""
    mount: AbsolutePath
    """Where it is mounted."""
    read_only: bool = True
    """Mount without the right to write."""


class TaintToleration(Values):
    """A toleration, as Kubernetes has it."""

    key: LabelKey | None = None
    """Key of the taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """Equal (the default) also compares the value."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; all of them by default."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """With NoExecute: how long a running pod stays."""


class SchedulingPolicy(Values):
    """What the operator tells a gang scheduler (Volcano, scheduler-plugins), where it was started with one."""

    min_available: Annotated[int, Field(ge=1)] | None = None
    """Pods that must start together; all by default."""
    queue: DnsSubdomain | None = None
    """The gang scheduler's queue."""
    priority_class: DnsSubdomain | None = None
    """Priority of the group of pods."""
    schedule_timeout_seconds: Annotated[int, Field(ge=1)] | None = None
    """How long the group may wait."""


DEFAULT_ENV: Environment = {
    "HOME": "/tmp",  # noqa: S108 - the pod's own
    "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/inductor",  # noqa: S108
    "TORCH_HOME": "/tmp/torch",  # noqa: S108
    "TRITON_CACHE_DIR": "/tmp/triton",  # noqa: S108
    "USER": "trainer",
    "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
}
"""The root file system is read-only and the uid has no entry in /etc/passwd, so caches and names need a place."""


class ChartValues(Values):
    """One PyTorchJob, named after the release."""

    image: ImageName | None = None
    """Container image; required, best by digest: registry.example/trainer@sha256:..."""
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When nodes pull it."""
    image_pull_secrets: tuple[PullSecret, ...] = ()
    """Secrets with the credentials of a private registry: [{name: my-registry}]."""
    run_file: Annotated[str, Field(max_length=LIMIT_OF_ANNOTATIONS)] | None = None
    """What to train, or the script to run under the trainer's supervisor: the trainer's run file, JSON as text, which
    pods read from a file. Either this or command; `launcher render` computes it from a job.yaml."""
    command: tuple[Text, ...] = ()
    """Your own script and its arguments, run under plain torchrun with RESULTS_DIR set: [train.py, --lr, "0.1"]."""
    env: Environment = DEFAULT_ENV
    """Environment variables: text, or {secret: name, key: entry} for an entry of a Secret. Merged with the defaults, of
    which null removes one."""
    replicas: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Pods."""
    nproc_per_node: Annotated[int, Field(ge=1, le=1024)] = 1
    """Training processes in each pod: its GPUs, or any number on CPUs."""
    elastic: Elastic | None = None
    """Bounds (minReplicas, maxReplicas) that make the job elastic. It then ends when its first pod succeeds."""
    resources: ResourceLists = ResourceLists()
    """Requests and limits of each pod."""
    shm_size: Quantity = "1Gi"
    """Size of /dev/shm; it lies in memory and counts toward the memory limit."""
    results: ResultsVolume = ResultsVolume()
    """Where the results folder lies: <path>/<namespace>/<release> on a claim."""
    volumes: tuple[DataVolume, ...] = ()
    """Claims with data: [{name: data, claim: datasets, mount: /data, readOnly: true}]."""
    run_as_user: Annotated[int, Field(ge=1)] | None = 10001
    """Numeric user of the processes; null lets the platform choose, as OpenShift does."""
    run_as_group: Annotated[int, Field(ge=1)] | None = 10001
    """Their group; null as above."""
    fs_group: Annotated[int, Field(ge=1)] | None = 10001
    """Group that owns the volumes; null as above."""
    read_only_root_filesystem: bool = True
    """Only /tmp, /dev/shm and volumes can be written."""
    service_account_name: DnsSubdomain | None = None
    """Service account of the pods; no token of it is mounted."""
    restart_policy: Literal["ExitCode", "OnFailure", "Never"] = "ExitCode"
    """ExitCode: a pod whose container ends with 128 or more is replaced, any other failure is final."""
    restart_rules: bool = False
    """Restart a container in place on the retryable exit codes 134, 137, 138, 139 and 143, so that its pod keeps its
    place, its logs and its cause. Kubernetes 1.35 or newer."""
    backoff_limit: Annotated[int, Field(ge=0)] = 100
    """Restarts in place, over all pods, after which the operator gives up. The trainer has a stricter bound of its own:
    restarts without a new checkpoint."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """The job is ended as failed after this long, or half a minute later; null for no limit."""
    clean_pod_policy: Literal["Running", "All", "None"] = "Running"
    """Pods to delete at the end. Those that ended keep their logs with Running."""
    suspend: bool = False
    """Create the job without pods."""
    scheduling_policy: SchedulingPolicy | None = None
    """For an operator with a gang scheduler: {queue, minAvailable, priorityClass, scheduleTimeoutSeconds}."""
    queue_name: DnsName | None = None
    """Kueue's LocalQueue that admits the job."""
    priority_class_name: DnsSubdomain | None = None
    """PriorityClass of the pods."""
    node_selector: dict[LabelKey, LabelValue] = Field({})
    """Labels that a node must have."""
    tolerations: tuple[TaintToleration, ...] = ()
    """Taints of nodes to put up with."""
    node_lost_seconds: Annotated[int, Field(ge=0)] = 30
    """How long pods stay bound to a node that stopped answering."""
    termination_grace_period_seconds: Annotated[int, Field(ge=0)] = 90
    """Time to save a checkpoint and leave; the trainer takes 50 seconds at most."""
    isolated_network: bool = False
    """Add a NetworkPolicy: only the job's own pods reach its pods, and these only each other and the DNS."""
    labels: dict[LabelKey, LabelValue] = Field({})
    """More labels for the job and its pods."""
    annotations: dict[LabelKey, Text] = Field({})
    """Annotations of the job."""
    pod_annotations: dict[LabelKey, Text] = Field({"sidecar.istio.io/inject": "false"})
    """Annotations of the pods. With a sidecar, pods would never complete."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.image is None:
            raise ValueError("image: required")
        if (self.run_file is None) == (not self.command):
            raise ValueError("runFile: give either runFile or command")
        if self.elastic and not self.elastic.min_replicas <= self.replicas <= self.elastic.max_replicas:
            raise ValueError("elastic: minReplicas <= replicas <= maxReplicas must hold")
        return self
