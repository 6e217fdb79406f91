"""Which cluster the tests run on: $KUBECONFIG if it is set, else $PROVIDER (one-node or kind), else what fits here."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.base import Cluster, Kubectl, KubectlFailed


@dataclass(frozen=True)
class Provider:
    """How clusters of one kind are brought up, found again, and ended."""

    start: Callable[..., Cluster]
    running: Callable[[], Cluster | None]
    refresh: Callable[[Any], None]
    stop: Callable[[], None]


@dataclass(frozen=True)
class ExistingCluster:
    """A cluster of the user's, with the operator, an image that its nodes can pull, and a default storage class."""

    kubeconfig: Path
    name: str = "existing"
    shared_folder: None = None
    node_folder: str = ""

    def restart_api_server(self, *, away: float) -> None:
        """Not ours to do."""
        raise NotImplementedError("the API server of an existing cluster is not restarted")

    def stop(self) -> None:
        """Not ours to end."""


def default() -> str:
    """The provider's name where none was asked for."""
    if os.environ.get("PROVIDER"):
        return os.environ["PROVIDER"]
    if os.environ.get("KUBECONFIG"):
        return "existing"
    can_do_all = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get")
    return "one-node" if can_do_all else "kind"


def _one_node() -> Provider:
    from tests.cluster.one_node import cluster

    return Provider(cluster.start, cluster.running, cluster.refresh, cluster.stop)


def _kind() -> Provider:
    from tests.cluster import kind

    return Provider(kind.start, kind.running, kind.refresh, kind.stop)


def _existing() -> Provider:
    def running() -> Cluster:
        path = Path(os.environ["KUBECONFIG"].split(os.pathsep)[0])
        kubectl = Kubectl(path)
        try:
            kubectl("get", "customresourcedefinition", "pytorchjobs.kubeflow.org")
        except KubectlFailed as reason:
            raise RuntimeError(f"the cluster of {path} has no training operator (k8s/README.md): {reason}") from reason
        return ExistingCluster(path)

    return Provider(lambda outlive=False: running(), running, lambda cluster: None, lambda: None)


PROVIDERS: dict[str, Callable[[], Provider]] = {"one-node": _one_node, "kind": _kind, "existing": _existing}


def provider(name: str) -> Provider:
    """The provider of that name."""
    return PROVIDERS[name]()
