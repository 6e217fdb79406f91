"""Programs of Debian's packages that the one-node cluster needs; installed when they are missing."""

import os
import shutil
import subprocess
import sys

from tests.tools.build import ToolMissing

# program -> package
PROGRAMS = {
    "buildah": "buildah",
    "containerd": "containerd",
    "ctr": "containerd",
    "debootstrap": "debootstrap",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "podman": "podman",
    "runc": "runc",
}
CNI_PLUGINS = "/usr/lib/cni"
_CNI_PACKAGE = "containernetworking-plugins"


def install_missing() -> None:
    """Install the packages that are missing.

    Raises:
        ToolMissing: Not as root, not on Debian, or apt-get failed; with what to do.
    """
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if not os.path.exists(f"{CNI_PLUGINS}/bridge"):
        packages.add(_CNI_PACKAGE)
    if os.geteuid() != 0:
        raise ToolMissing(
            "a cluster on this machine needs root; use PROVIDER=kind, or set KUBECONFIG to a cluster of yours"
        )
    if not packages:
        return
    wanted = " ".join(sorted(packages))
    if shutil.which("apt-get") is None:
        raise ToolMissing(f"packages missing, by Debian's names: {wanted}; or use PROVIDER=kind")
    print(f"installing {wanted}", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", *packages]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ToolMissing(f"apt-get install {wanted} failed:\n{done.stderr.strip()[-2000:]}")
