"""A real one-node Kubernetes on this machine: every server a process of its own, in one network namespace."""

import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import operator
from tests.cluster.base import IMAGE, Kubectl, advertise_gpus
from tests.cluster.one_node import control_plane, images, network, node
from tests.cluster.one_node.control_plane import NODE_NAME, ControlPlane
from tests.cluster.one_node.node import Node, unmount_below
from tests.cluster.one_node.packages import install_missing
from tests.cluster.one_node.servers import Servers
from tests.image.engine import Engine
from tests.tools.build import ToolMissing, cache_folder, tool

_FREE_GIB = 24
RUN = Path("/run/pytorchjob-cluster")
_RECORD = RUN / "servers.json"
# The kubelet before the containers that it would start again, the API server before its database.
_STOP_BEFORE_CONTAINERS = (
    "kubelet",
    "coredns",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
    "registry",
)


@dataclass
class OneNodeCluster:
    """A running cluster."""

    plane: ControlPlane
    name: str = "one-node"

    @property
    def folder(self) -> Path:
        """Its logs, credentials and volumes."""
        return self.plane.folder

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.plane.admin

    @property
    def shared_folder(self) -> Path:
        """Where the volumes lie."""
        return self.folder / "volumes"

    @property
    def node_folder(self) -> str:
        """The node is this machine."""
        return str(self.shared_folder)

    def restart_api_server(self, *, away: float) -> None:
        """End the API server, and start it again after ``away`` seconds."""
        self.plane.restart_api_server(away=away)

    def stop(self) -> None:
        """End all servers and containers; the logs stay."""
        _stop(self.plane.servers)


def start(*, outlive: bool = False) -> OneNodeCluster:
    """Bring the cluster up, with the operator and the trainer's image: minutes the first time, then half a minute.

    Args:
        outlive: Whether it runs on when this process ends, until ``stop``.

    Raises:
        ToolMissing: A program is neither there nor can it be had; the message says what to do.
    """
    begin = time.monotonic()
    _check_disk()
    install_missing()
    for program in (*control_plane.PROGRAMS, *node.PROGRAMS, "training-operator.v1", "pause"):
        tool(program)
    stop()
    folder = Path(tempfile.mkdtemp(prefix="pytorchjob-cluster-"))
    (folder / "volumes").mkdir()
    folder.chmod(0o755)  # users of the pods reach their volumes below it
    cluster = OneNodeCluster(ControlPlane(Servers(_RECORD, folder, prefix=network.ENTER, outlive=outlive)))
    try:
        network.create()
        _start_servers(cluster, begin)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _check_disk() -> None:
    """Before the image is there: its layers, its copy in the registry, and its files unpacked for the node."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free >> 30
    if not folder.with_name("containers").joinpath("built").exists() and free < _FREE_GIB:
        raise ToolMissing(f"{folder.parent} has {free} GiB free, and the images take up to {_FREE_GIB}")


def _start_servers(cluster: OneNodeCluster, begin: float) -> None:
    plane, machine = cluster.plane, Node(cluster.plane, cache_folder().with_name("cluster"))
    machine.start_registry()
    machine.start_containerd()
    with ThreadPoolExecutor() as pool:
        pushed = pool.submit(_push_images)
        plane.start()
        machine.start_kubelet()
        machine.start_dns()
        advertise_gpus(plane.kubectl, NODE_NAME)
        _say(begin, "the node is ready; building and pushing the images")
        pushed.result()
    _say(begin, "the images are there")
    operator.install(plane.kubectl)
    _pull_trainer(plane)
    operator.wait_until_ready(plane.kubectl)
    _say(begin, f"the operator is ready; logs in {cluster.folder}")


def refresh(cluster: OneNodeCluster) -> None:
    """Bring the trainer's image up to date in a cluster that runs already."""
    _push_images()
    _pull_trainer(cluster.plane)


def _push_images() -> None:
    images.push_all(Engine.at_cache(), operator.image())


def _pull_trainer(plane: ControlPlane) -> None:
    """Unpack the image before the first job waits for it; ``Always``, since the tag moves with each build."""
    kubectl = Kubectl(plane.admin, "kube-system")
    arguments = ("run", "pull", f"--image={IMAGE}", "--image-pull-policy=Always", "--restart=Never", "--command")
    kubectl(*arguments, "--", "/bin/true")
    kubectl("wait", "pod/pull", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=590s", timeout=600)
    kubectl("delete", "pod", "pull", "--wait=false")


def running() -> OneNodeCluster | None:
    """The cluster that an earlier process left running."""
    servers = Servers.recorded(_RECORD, prefix=network.ENTER)
    return OneNodeCluster(ControlPlane(servers)) if servers and servers.all_run() else None


def stop() -> None:
    """End the cluster that runs, or what is left of one that was killed."""
    _stop(Servers.recorded(_RECORD, prefix=network.ENTER))


def _stop(servers: Servers | None) -> None:
    if servers:
        for name in _STOP_BEFORE_CONTAINERS:
            # The API server would wait a minute for watchers to leave.
            servers.stop(name, patience=0 if name == "kube-apiserver" else 15)
        if servers.runs("containerd"):
            node.remove_containers()
        servers.stop("containerd")
        unmount_below(servers.folder)
    unmount_below(RUN)
    network.remove()
    shutil.rmtree(RUN, ignore_errors=True)


def _say(begin: float, text: str) -> None:
    print(f"{time.monotonic() - begin:4.0f} s: {text}", file=sys.stderr, flush=True)
