"""What the tests ask of a cluster, whichever provider brought it up."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.tools.build import tool

GPUS = 8
"""What the node advertises where there are no real ones."""
IMAGE = "pytorchjob-trainer:latest"
"""The trainer's image, as examples/ names it."""


class KubectlFailed(Exception):
    """kubectl ended with an error; the message is its own."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl with one user's kubeconfig."""

    kubeconfig: Path
    namespace: str | None = None

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """What it printed.

        Raises:
            KubectlFailed: It ended with an error.
        """
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """One command, whatever it ends with."""
        return subprocess.run(self._command(*arguments), input=stdin, capture_output=True, text=True, timeout=timeout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on, such as a watch."""
        return subprocess.Popen(self._command(*arguments), stdout=subprocess.PIPE, text=True)

    def _command(self, *arguments: str) -> list[str]:
        place = (f"--namespace={self.namespace}",) if self.namespace else ()
        return [str(tool("kubectl")), f"--kubeconfig={self.kubeconfig}", *place, *arguments]

    def json(self, *arguments: str) -> dict[str, Any]:
        """The parsed output of ``get`` and its like."""
        answer: dict[str, Any] = json.loads(self(*arguments, "--output=json"))
        return answer

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects of a list."""
        items: list[dict[str, Any]] = self.json(*arguments)["items"]
        return items

    def apply(self, objects: Sequence[dict[str, Any]]) -> None:
        """Server-side apply."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "--server-side", "--filename=-", stdin=json.dumps(listed))


def advertise_gpus(kubectl: Kubectl, node: str) -> None:
    """Let a node say that it has GPUs: without a device plugin a pod that asks for one gets none of it."""
    quantity = {"nvidia.com/gpu": str(GPUS)}
    patch = json.dumps({"status": {"capacity": quantity, "allocatable": quantity}})
    kubectl("patch", "node", node, "--subresource=status", "--patch", patch)


class Cluster(Protocol):
    """A Kubernetes cluster with the training operator, the roles of k8s/, and the trainer's image."""

    @property
    def name(self) -> str:
        """The provider's name."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""

    @property
    def shared_folder(self) -> Path | None:
        """The folder of this machine behind hostPath volumes at ``node_folder``; None where claims are provisioned."""

    @property
    def node_folder(self) -> str:
        """The same folder as the nodes see it."""

    def restart_api_server(self, *, away: float) -> None:
        """Kill the API server, and start it again after ``away`` seconds."""

    def stop(self) -> None:
        """End everything that was started."""
