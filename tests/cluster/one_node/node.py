"""The node: image registry, containerd, kubelet and cluster DNS, as processes in the cluster's network namespace."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.api.processes import flags
from tests.cluster.one_node import network
from tests.cluster.one_node.control_plane import NODE_NAME, ControlPlane
from tests.cluster.one_node.packages import CNI_PLUGINS
from tests.tools.build import tool

PROGRAMS = ("kubelet", "coredns")
REGISTRY = f"{network.NODE}:5000"
PAUSE_IMAGE = f"{REGISTRY}/library/pause:1"
# Paths of Unix sockets may have 107 characters.
SOCKET = Path("/run/pytorchjob-cluster/containerd.sock")

_CONTAINERD = """\
version = 2
root = {root}
state = {state}
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = {socket}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = {pause}
# A virtual machine may lack the capability to lower it.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
# The layers of the trainer's image take gigabytes; unpacked once, they are not needed packed.
discard_unpacked_layers = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {cni_plugins}
conf_dir = {cni_configuration}
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = {hosts}
"""

_REGISTRY_HOSTS = f"""\
server = "http://{REGISTRY}"
[host."http://{REGISTRY}"]
capabilities = ["pull", "resolve"]
"""

_COREFILE = f"""\
cluster.local:53 {{
    bind {network.BRIDGE}
    kubernetes cluster.local {{
        kubeconfig %s dns
        ttl 5
    }}
    errors
}}
.:53 {{
    bind {network.BRIDGE}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
    errors
}}
"""


class Node:
    """Starts the node's servers; images are kept in ``cache``, everything else lies in the control plane's folder."""

    def __init__(self, plane: ControlPlane, cache: Path) -> None:
        self._plane = plane
        self._folder = plane.folder
        self._cache = cache

    def start_registry(self) -> None:
        """The registry that every image name leads to."""
        storage = {"filesystem": {"rootdirectory": str(self._cache / "registry")}, "delete": {"enabled": True}}
        settings = {"version": "0.1", "storage": storage, "http": {"addr": REGISTRY}, "log": {"level": "warn"}}
        arguments = ["serve", str(self._yaml("registry.yaml", settings))]
        self._plane.servers.start("registry", _program("docker-registry"), arguments)

    def start_containerd(self) -> None:
        """The container runtime."""
        hosts, cni = self._folder / "hosts", self._folder / "cni"
        (hosts / "_default").mkdir(parents=True)
        (hosts / "_default" / "hosts.toml").write_text(_REGISTRY_HOSTS)
        cni.mkdir()
        (cni / "10-pods.conflist").write_text(json.dumps(network.CNI))
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        strings = {
            "root": self._cache / "containerd",
            "state": SOCKET.parent / "state",
            "socket": SOCKET,
            "pause": PAUSE_IMAGE,
            "cni_plugins": CNI_PLUGINS,
            "cni_configuration": cni,
            "hosts": hosts,
        }
        config = self._folder / "containerd.toml"
        config.write_text(_CONTAINERD.format(**{name: json.dumps(str(value)) for name, value in strings.items()}))
        arguments = [f"--config={config}"]
        self._plane.servers.start(
            "containerd", _program("containerd"), arguments, ready=lambda: ctr("version").returncode == 0
        )

    def start_kubelet(self) -> None:
        """The kubelet; waits until the node is Ready."""
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"x509": {"clientCAFile": str(self._folder / "ca.crt")}},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": True,
            "clusterDNS": [network.BRIDGE],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            # The disk is the developer's own: never evict or collect images for it.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "failCgroupV1": False,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            "registryPullQPS": 0,
        }
        settings = {
            "config": str(self._yaml("kubelet.yaml", config)),
            "kubeconfig": self._plane.kubeconfig_of(f"system:node:{NODE_NAME}"),
            "hostname-override": NODE_NAME,
            "node-ip": network.NODE,
            "root-dir": str(self._folder / "kubelet"),
            "cert-dir": str(self._folder / "kubelet-certificates"),
        }
        self._plane.servers.start("kubelet", tool("kubelet"), flags(settings), ready=self.is_ready)

    def is_ready(self) -> bool:
        """Whether the API server holds the node for Ready."""
        wanted = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self._plane.kubectl.run("get", "node", NODE_NAME, "--output", wanted).stdout == "True"

    def start_dns(self) -> None:
        """The cluster DNS, on the bridge of the pods."""
        corefile = self._folder / "Corefile"
        corefile.write_text(_COREFILE % self._plane.kubeconfig_of("dns"))
        self._plane.servers.start("coredns", tool("coredns"), [f"-conf={corefile}"])

    def _yaml(self, name: str, content: dict[str, Any]) -> Path:
        path = self._folder / name
        path.write_text(yaml.safe_dump(content))
        return path


def ctr(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of containerd's client, on the kubelet's containers."""
    command = ["ctr", f"--address={SOCKET}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def remove_containers() -> None:
    """End what the kubelet left running, with its network namespaces: containers outlive it and containerd."""
    containers = ctr("containers", "list", "--quiet").stdout.split()
    namespaces = {path for container in containers for path in _network_namespaces(container)}
    for task in ctr("tasks", "list", "--quiet").stdout.split():
        ctr("tasks", "delete", "--force", task)
    for container in containers:
        ctr("containers", "delete", container)
    for path in namespaces:
        subprocess.run(["ip", "netns", "delete", Path(path).name], capture_output=True)


def _network_namespaces(container: str) -> list[str]:
    spec = json.loads(ctr("containers", "info", "--spec", container).stdout or "{}")
    listed = spec.get("linux", {}).get("namespaces", [])
    return [one["path"] for one in listed if one["type"] == "network" and "/netns/cni-" in one.get("path", "")]


def unmount_below(folder: Path) -> None:
    """Unmount what kubelet and containerd mounted below ``folder``, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if Path(mount).is_relative_to(folder)]):
        subprocess.run(["umount", "--lazy", mount], capture_output=True)


def _program(name: str) -> Path:
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    return Path(found)
