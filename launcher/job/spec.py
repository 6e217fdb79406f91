"""JobSpec: the frozen form of job.yaml."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from trainer.config import TrainConfig
from trainer.config.base import Config

# The operator names pods and services <job>-worker-<index>, and a label holds 63 characters at most.
MAX_NAME = 63 - len("-worker-") - 5

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
AbsolutePath = Annotated[str, Field(pattern=r"^/")]
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


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


class Resources(Config):
    """What each pod asks for."""

    gpus_per_node: Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)] = "auto"
    """GPUs per pod, equal on all of them. auto: as few pods as hold the total."""
    cpu: Annotated[int, Field(ge=1)] | None = None
    """CPU cores per pod."""
    memory: Quantity | None = None
    """Memory per pod, such as 32Gi."""
    shm: Quantity | None = None
    """Size of /dev/shm per pod, inside `memory`, such as 8Gi."""


class Results(Config):
    """Where the results folder lives on a cluster; the local backend has its own folder."""

    claim: DnsName | None = None
    """PersistentVolumeClaim that holds the results."""
    path: AbsolutePath = "/results"
    """Where the claim is mounted in the pod."""


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
    """The same data on a laptop, used by the local backend (~ is the home folder)."""


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
    image: Annotated[str, Field(min_length=1)] | None = None
    """Container image. Local runs need none."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs over the whole job. 0: train on CPUs, see `processes`."""
    processes: Annotated[int, Field(ge=1)] | None = None
    """Ranks of a CPU job (gpus: 0). Default 1."""
    train: TrainConfig | None = None
    """What to train. Either this or `command`."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Your own script and its arguments, run under torchrun."""
    resources: Resources = Resources()
    """What each pod asks for."""
    results: Results = Results()
    """Where results go on a cluster."""
    volumes: tuple[Volume, ...] = ()
    """Data volumes."""
    nodes: tuple[NodeShape, ...] = ()
    """Shapes of the cluster's nodes, for planning without a cluster."""

    @property
    def ranks(self) -> int:
        """Number of training processes over the whole job."""
        return self.gpus or self.processes or 1

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if (self.train is None) == (self.command is None):
            raise ValueError("train: give either train or command")
        if self.gpus and self.processes:
            raise ValueError("processes: only for CPU jobs (gpus: 0); a GPU job has one process per GPU")
        if self.train and self.train.batch_size < self.ranks * self.train.accumulate:
            raise ValueError(
                f"train.batch_size: must be >= ranks x accumulate "
                f"({self.ranks} x {self.train.accumulate}; got {self.train.batch_size})"
            )
        path = getattr(self.train.data, "path", None) if self.train else None
        if path is not None and not any(is_under(path, volume.mount) for volume in self.volumes):
            mounts = ", ".join(volume.mount for volume in self.volumes) or "none: add a volume"
            raise ValueError(f"train.data.path: {path} is not under a mount (mounts: {mounts})")
        return self


def is_under(path: str, mount: str) -> bool:
    """Whether ``path`` is the mount point or below it (both absolute, in the pod)."""
    return f"{path}/".startswith(mount.rstrip("/") + "/")
