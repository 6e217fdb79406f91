"""A network namespace for the whole cluster, so that nothing of it listens on this machine's own addresses.

::

    this machine  10.213.0.1 --veth-- 10.213.0.2  node (API server, kubelet, registry, DNS)
                                      10.96.0.1   the service address of the API server, on the loopback device
                                      10.214.0.1  bridge of the pods, 10.214.0.0/24
"""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.tools.build import ToolMissing

NAME = "pytorchjob-cluster"
HOST = "10.213.0.1"
NODE = "10.213.0.2"
API_SERVICE = "10.96.0.1"
BRIDGE = "10.214.0.1"
SERVICES = "10.96.0.0/16"
PODS = "10.214.0.0/24"
_HOST_LINK, _NODE_LINK, _BRIDGE_LINK = "pytorchjob0", "uplink0", "pods0"

ENTER: Sequence[str] = ("nsenter", f"--net=/run/netns/{NAME}", "--")
"""Runs a command in the namespace, with this machine's mounts: the kubelet's must be the container runtime's too."""

CNI = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": _BRIDGE_LINK,
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
    ],
}


def create() -> None:
    """Make the namespace and its links, in place of whatever a killed run left behind.

    Raises:
        ToolMissing: This machine lets nobody make one.
    """
    remove()
    try:
        _ip("netns", "add", NAME)
    except RuntimeError as reason:
        raise ToolMissing(
            f"no network namespace can be made here: {reason}; use PROVIDER=kind or KUBECONFIG"
        ) from reason
    _ip("link", "add", _HOST_LINK, "type", "veth", "peer", "name", _NODE_LINK, "netns", NAME)
    _ip("address", "add", f"{HOST}/30", "dev", _HOST_LINK)
    _ip("link", "set", _HOST_LINK, "up")
    inside = ("-netns", NAME)
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "address", "add", f"{API_SERVICE}/32", "dev", "lo")
    _ip(*inside, "address", "add", f"{NODE}/30", "dev", _NODE_LINK)
    _ip(*inside, "link", "set", _NODE_LINK, "up")
    # The API server advertises the node's address, and Kubernetes wants a default route beside it.
    _ip(*inside, "route", "add", "default", "via", HOST)
    _ip(*inside, "link", "add", _BRIDGE_LINK, "type", "bridge")
    _ip(*inside, "address", "add", f"{BRIDGE}/24", "dev", _BRIDGE_LINK)
    _ip(*inside, "link", "set", _BRIDGE_LINK, "up")


def remove() -> None:
    """Remove the namespace; its links go with it."""
    with contextlib.suppress(FileNotFoundError):
        for address in Path("/var/lib/cni/networks/pods").iterdir():
            address.unlink()
    if Path(f"/run/netns/{NAME}").exists():
        _ip("netns", "delete", NAME)
    subprocess.run(["ip", "link", "delete", _HOST_LINK], capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
