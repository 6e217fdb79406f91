"""The kinds of objects that the launcher asks for, and where the API serves them."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of object."""

    group_version: str
    """Such as ``v1`` or ``kubeflow.org/v1``."""
    name: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The path of one object, or of all; without a namespace those of all namespaces."""
        root = "/api" if "/" not in self.group_version else "/apis"
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        return f"{root}/{self.group_version}{place}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


JOB = Kind("kubeflow.org/v1", "PyTorchJob", "pytorchjobs")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")

_RENDERED = {
    (kind.group_version, kind.name): kind for kind in (JOB, CLAIM, SERVICE_ACCOUNT, CONFIG_MAP, NETWORK_POLICY)
}


def kind_of(manifest: Object) -> Kind:
    """The kind of a rendered manifest.

    Raises:
        ValueError: It is none that the chart may make.
    """
    key = (manifest.get("apiVersion", ""), manifest.get("kind", ""))
    if key not in _RENDERED:
        raise ValueError(f"the chart made an object of a kind it may not make: {key[1]} ({key[0]})")
    return _RENDERED[key]


def is_name(text: str) -> bool:
    """Whether a job or a namespace can have this name; anything else, such as a path, is not asked for."""
    return bool(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text))


def name_of(obj: Object) -> str:
    """An object's name."""
    return str(obj["metadata"]["name"])


def uid_of(obj: Object) -> str:
    """An object's identity: another one of the same name has another."""
    return str(obj["metadata"].get("uid", ""))


def version_of(obj: Object) -> str:
    """The version of an object or of a list, for watching on from there."""
    return str(obj["metadata"].get("resourceVersion", ""))


def labels_of(obj: Object) -> dict[str, str]:
    """An object's labels."""
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Object) -> dict[str, str]:
    """An object's annotations."""
    return obj["metadata"].get("annotations") or {}
