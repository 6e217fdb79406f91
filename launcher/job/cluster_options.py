"""Parts of a job file that only a cluster reads."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from launcher.job.field_types import DnsSubdomain, LabelKey, LabelValue, Quantity, SecretDataKey
from trainer.config.base import Config


class NewClaim(Config):
    """A PersistentVolumeClaim to create with the job; it is kept when the job is deleted."""

    size: Quantity
    """Its size, such as 100Gi."""
    storage_class: DnsSubdomain | None = None
    """Its storage class. Default: the cluster's default one."""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"] = "ReadWriteMany"
    """ReadWriteMany unless the job has one pod."""


class SecretKey(Config):
    """One entry of a Secret in the job's namespace."""

    secret: DnsSubdomain
    """Name of the Secret."""
    key: SecretDataKey
    """The entry in it."""


class Toleration(Config):
    """A taint of nodes that the job's pods put up with."""

    key: LabelKey | None = None
    """Key of the taint; none with `operator: Exists` tolerates every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Equal also compares the value."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; none means all effects."""
    seconds: Annotated[int, Field(ge=0)] | None = None
    """With NoExecute: how long a running pod stays (seconds)."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("value: only with operator: Equal")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("key: required unless operator is Exists")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds: only with effect: NoExecute")
        return self
