"""JobSpec: the frozen form of job.yaml."""

import posixpath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from launcher.job.cluster_options import NewClaim, SecretKey, Toleration
from launcher.job.field_types import (
    AbsolutePath,
    DnsName,
    DnsSubdomain,
    EnvName,
    ImageName,
    LabelKey,
    LabelValue,
    Quantity,
    ResourceName,
    Text,
    quantity,
)
from trainer.config import Train
from trainer.config.base import Config
from trainer.config.train import Restarts

# The operator names pods and services <job>-worker-<index>, and a label holds 63 characters at most.
MAX_NAME = 63 - len("-worker-") - 5

RESERVED_ENV = frozenset(
    {"RESULTS_DIR", "ATTEMPT", "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
    | {"GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "NVIDIA_VISIBLE_DEVICES"}
)
"""Variables that the launcher, the operator or torchrun sets."""
RESERVED_ENV_PREFIXES = ("PET_", "TORCHELASTIC_")
"""So is every name that starts like this."""
RESERVED_VOLUMES = {"results": None, "run": "/etc/pytorchjob", "shm": "/dev/shm", "tmp": "/tmp"}  # noqa: S108
"""Volumes that every pod has, and where they are mounted; results at `results.path`."""


def _job_name(name: str) -> str:
    if len(name) > MAX_NAME:
        raise ValueError(
            f"must be at most {MAX_NAME} characters, so that the pod name <name>-worker-<index> fits in 63 "
            f"(got {len(name)})"
        )
    return name


def _auto_or_count(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be auto or a whole number >= 1 (got {value!r})")


def _variable(name: str) -> str:
    if name in RESERVED_ENV or name.startswith(RESERVED_ENV_PREFIXES):
        raise ValueError("is set by the launcher; choose another name")
    return name


class GpuRange(Config):
    """An elastic job: it runs on any number of pods within these bounds, and goes on while pods come and go."""

    min: Annotated[int, Field(ge=1)]
    """GPUs that the job needs at least."""
    max: Annotated[int, Field(ge=1)]
    """GPUs that it uses at most."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min: must be <= max ({self.max}; got {self.min})")
        return self


def _kind_of_gpus(value: Any) -> str:
    return "range" if isinstance(value, dict | GpuRange) else "count"


def _kind_of_variable(value: Any) -> str:
    return "secret" if isinstance(value, dict | SecretKey) else "text"


# The discriminators keep messages about the one form that the file uses.
Gpus = Annotated[
    Annotated[int, Field(ge=0), Tag("count")] | Annotated[GpuRange, Tag("range")], Discriminator(_kind_of_gpus)
]
EnvValue = Annotated[
    Annotated[Text, Tag("text")] | Annotated[SecretKey, Tag("secret")], Discriminator(_kind_of_variable)
]
Variable = Annotated[EnvName, AfterValidator(_variable)]


class Resources(Config):
    """What each pod asks for; requests and limits are equal."""

    gpus_per_node: Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)] = "auto"
    """GPUs per pod, equal on all of them. auto: as few pods as hold the total."""
    cpu: Annotated[int, Field(ge=1)] | None = None
    """CPU cores per pod."""
    memory: Quantity | None = None
    """Memory per pod, such as 32Gi."""
    shm: Quantity | None = None
    """Size of /dev/shm per pod, inside `memory`, such as 8Gi. Default: half of `memory`, or 1Gi."""
    gpu_resource: ResourceName = "nvidia.com/gpu"
    """What the cluster calls a GPU, such as amd.com/gpu or nvidia.com/mig-1g.10gb."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.memory and self.shm and quantity(self.shm) >= quantity(self.memory):
            raise ValueError(f"shm: must be less than memory ({self.memory}; got {self.shm}), which it counts toward")
        return self


class Results(Config):
    """Where the results folder lives on a cluster; the local backend has its own folder."""

    claim: DnsName = "results"
    """PersistentVolumeClaim that holds the results."""
    path: AbsolutePath = "/results"
    """Where the claim is mounted in the pod."""
    create: NewClaim | None = None
    """Create the claim with the job, rather than use one that exists."""


class Volume(Config):
    """Data that the job reads: a claim on the cluster, a folder on a laptop."""

    name: DnsName
    """Name of the volume."""
    claim: DnsName | None = None
    """PersistentVolumeClaim behind it."""
    mount: AbsolutePath
    """Where it appears in the pod."""
    read_only: bool = True
    """Mount without the right to write."""
    local: Annotated[str, Field(min_length=1)] | None = None
    """The same data on a laptop, used by the local backend: ~ is the home folder, and a relative path starts where you
    submit from."""


class NodeShape(Config):
    """A group of equal nodes, for planning without a cluster."""

    count: Annotated[int, Field(ge=1)]
    """How many such nodes there are."""
    gpus: Annotated[int, Field(ge=0)]
    """GPUs on each."""


class JobSpec(Config):
    """One training job."""

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$"), AfterValidator(_job_name)]
    """Name of the job: lower-case letters, digits and dashes, starting with a letter."""
    image: ImageName | None = None
    """Container image, best by digest. Local runs need none. Default on a cluster: the variable LAUNCHER_IMAGE."""
    gpus: Gpus = 0
    """GPUs over the whole job. 0: train on CPUs, see `processes`. A range, {min: 2, max: 8}, makes the job elastic."""
    processes: Annotated[int, Field(ge=1)] | None = None
    """Ranks of a CPU job (gpus: 0). Default 1."""
    train: Train | None = None
    """What to train. Either this or `command`."""
    command: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Your own script and its arguments, started once a rank: [train.py, --lr, "0.1"], or [-m, my.module]. $(NAME) in
    an argument becomes the value of that variable: $(RESULTS_DIR)."""
    restarts: Restarts = Restarts()
    """How often a crashed `command` is tried again. Of a `train` job this is `train.restarts`."""
    runner: Literal["supervisor", "torchrun"] = "supervisor"
    """What starts a `command` on a cluster. supervisor: the trainer's own, in images that hold the trainer. torchrun:
    plain torchrun, in any image that holds torch; without attempts, restarts in place, and a summary."""
    resources: Resources = Resources()
    """What each pod asks for."""
    results: Results = Results()
    """Where results go on a cluster."""
    volumes: tuple[Volume, ...] = ()
    """Data volumes."""
    nodes: tuple[NodeShape, ...] = ()
    """Shapes of the cluster's nodes, for planning without a cluster."""
    env: dict[Variable, EnvValue] = Field({})
    """Environment variables: text, or {secret: name, key: entry} for an entry of a Secret, which local runs take from
    the launcher's own environment. Kubernetes puts the value of another variable in for $(NAME)."""
    image_pull_secrets: tuple[DnsSubdomain, ...] = ()
    """Secrets with the credentials of a private registry."""
    queue: DnsName | None = None
    """Kueue's LocalQueue that admits the job."""
    priority_class: DnsSubdomain | None = None
    """PriorityClass of the pods."""
    node_selector: dict[LabelKey, LabelValue] = Field({})
    """Labels that a node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes to put up with, besides the one named like the GPU resource."""
    deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """A cluster ends the job as failed after this long (seconds), or half a minute later. Default: no limit."""
    isolated_network: bool = False
    """Let only the job's own pods reach its pods, and these only each other and the DNS."""
    run_as: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = 10001
    """Numeric user and group of the processes. null lets the platform choose, as OpenShift does."""

    @property
    def total_gpus(self) -> int:
        """GPUs over the whole job; of an elastic job the most that it uses."""
        return self.gpus.max if isinstance(self.gpus, GpuRange) else self.gpus

    @property
    def is_one_process(self) -> bool:
        """Whether one process uses all GPUs of the job."""
        return self.train is not None and self.train.parallel.strategy == "data-parallel"

    @property
    def ranks(self) -> int:
        """Number of training processes over the whole job."""
        return 1 if self.is_one_process else self.total_gpus or self.processes or 1

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if (self.train is None) == (self.command is None):
            raise ValueError("train: give either train or command")
        if self.gpus and self.processes:
            raise ValueError("processes: only for CPU jobs (gpus: 0); a GPU job has one process per GPU")
        self._check_one_process()
        if self.train and self.train.batch_size < self.ranks * self.train.accumulate:
            raise ValueError(
                f"train.batch_size: must be >= ranks x accumulate "
                f"({self.ranks} x {self.train.accumulate}; got {self.train.batch_size})"
            )
        self._check_command()
        self._check_volumes()
        for field, path in (self.train.paths if self.train else {}).items():
            if not any(is_under(path, volume.mount) for volume in self.volumes):
                mounts = ", ".join(volume.mount for volume in self.volumes) or "none: add a volume"
                raise ValueError(f"train.{field}: {path} is not under a mount (mounts: {mounts})")
        return self

    def _check_command(self) -> None:
        if self.command is None:
            if self.restarts != Restarts():
                raise ValueError("restarts: is for a command; a train job has train.restarts")
            if self.runner != "supervisor":
                raise ValueError("runner: is for a command; a train job runs under the trainer's supervisor")
            return
        script = self.command[0]
        if script in ("python", "python3", "torchrun"):
            raise ValueError(f"command.0: give the script itself, Python is started for it (got {script!r})")
        if self.runner == "torchrun":
            if self.restarts != Restarts():
                raise ValueError("restarts: torchrun does not know them (use runner: supervisor)")
        elif script == "-m" and len(self.command) == 1:
            raise ValueError("command.0: -m needs the name of a module: [-m, my.module]")
        elif script != "-m" and (script.startswith("-") or not script.strip()):
            raise ValueError(f"command.0: must be a script, or -m and a module (got {script!r})")

    def _check_one_process(self) -> None:
        """One process can neither be several nor be spread over nodes."""
        if not self.is_one_process:
            return
        why = "train.parallel.strategy is data-parallel, one process on one node; ddp has no such limit"
        if (self.processes or 1) > 1:
            raise ValueError(f"processes: must be 1 (got {self.processes}): {why}")
        if isinstance(self.gpus, GpuRange):
            raise ValueError(f"gpus: must be a whole number, not a range: {why}")  # noqa: TRY004 - pydantic's kind
        share = self.resources.gpus_per_node
        if self.gpus and share not in ("auto", self.gpus):
            raise ValueError(f"resources.gpus_per_node: must be auto or gpus ({self.gpus}; got {share}): {why}")

    def _check_volumes(self) -> None:
        """Every volume of a pod needs a name and a mount of its own."""
        names = set(RESERVED_VOLUMES)
        mounts = {"/", *(_folder(mount or self.results.path) for mount in RESERVED_VOLUMES.values())}
        if len(mounts) < len(RESERVED_VOLUMES) + 1:
            raise ValueError(f"results.path: {self.results.path} is taken (also taken: {_listed(mounts)})")
        for index, volume in enumerate(self.volumes):
            if volume.name in names:
                raise ValueError(f"volumes.{index}.name: {volume.name} is taken (also taken: {_listed(names)})")
            if _folder(volume.mount) in mounts:
                raise ValueError(f"volumes.{index}.mount: {volume.mount} is taken (also taken: {_listed(mounts)})")
            names.add(volume.name)
            mounts.add(_folder(volume.mount))


def _folder(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def _listed(taken: set[str]) -> str:
    return ", ".join(sorted(taken))


def is_under(path: str, mount: str) -> bool:
    """Whether ``path`` is the mount point or below it (both absolute, in the pod)."""
    return f"{path}/".startswith(mount.rstrip("/") + "/")
