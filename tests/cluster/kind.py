"""The same cluster by kind, on a machine with a Docker engine: k8s/kind-config.yaml, as k8s/README.md describes it."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import operator
from tests.cluster.base import IMAGE, Kubectl, advertise_gpus
from tests.command_line import ROOT
from tests.tools.build import ToolMissing, cache_folder

NAME = "training"
_CONFIG = ROOT / "k8s" / "kind-config.yaml"


@dataclass(frozen=True)
class KindCluster:
    """A running cluster of k8s/kind-config.yaml."""

    kubeconfig: Path
    name: str = "kind"
    node_folder: str = "/shared"

    @property
    def shared_folder(self) -> Path:
        """What the nodes mount at ``node_folder``."""
        return ROOT / ".kind" / "shared"

    def restart_api_server(self, *, away: float) -> None:
        """Kill its container; the kubelet starts it again."""
        node = f"{NAME}-control-plane"
        _run("docker", "exec", node, "pkill", "-KILL", "kube-apiserver")
        time.sleep(away)
        kubectl = Kubectl(self.kubeconfig)
        end = time.monotonic() + 120
        while kubectl.run("get", "--raw", "/readyz").returncode and time.monotonic() < end:
            time.sleep(0.5)

    def stop(self) -> None:
        """Delete the cluster."""
        stop()


def start(*, outlive: bool = False) -> KindCluster:
    """Bring the cluster up, with the operator and the trainer's image.

    Raises:
        ToolMissing: docker or kind is missing, or Docker's engine does not run.
    """
    for program, remedy in (("docker", "install a Docker engine"), ("kind", "go install sigs.k8s.io/kind@latest")):
        if shutil.which(program) is None:
            raise ToolMissing(f"{program} is missing: {remedy}")
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        raise ToolMissing("Docker's engine does not run; start it, or use PROVIDER=one-node as root on Debian")
    (ROOT / ".kind" / "shared").mkdir(parents=True, exist_ok=True)
    _run("kind", "create", "cluster", "--config", str(_CONFIG), "--wait", "120s", cwd=ROOT)
    cluster = running()
    assert cluster, "kind created a cluster that it does not list"
    kubectl = Kubectl(cluster.kubeconfig)
    for node in kubectl.items("get", "nodes", "--selector=!node-role.kubernetes.io/control-plane"):
        advertise_gpus(kubectl, node["metadata"]["name"])
    operator.install(kubectl)
    refresh(cluster)
    operator.wait_until_ready(kubectl)
    return cluster


def refresh(cluster: KindCluster) -> None:
    """Bring the trainer's image up to date."""
    _run("make", "image", f"IMAGE={IMAGE}", cwd=ROOT)
    _run("kind", "load", "docker-image", "--name", NAME, IMAGE)


def running() -> KindCluster | None:
    """The cluster, if kind lists it."""
    if shutil.which("kind") is None or NAME not in _run("kind", "get", "clusters").split():
        return None
    path = cache_folder().with_name("cluster") / "kind.kubeconfig"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(_run("kind", "get", "kubeconfig", "--name", NAME))
    return KindCluster(path)


def stop() -> None:
    """Delete the cluster."""
    _run("kind", "delete", "cluster", "--name", NAME)


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
