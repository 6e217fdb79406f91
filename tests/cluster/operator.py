"""The training operator, installed from the manifests of its pinned module as a user installs it."""

import tempfile
from pathlib import Path

import yaml

from tests.api.control_plane import OPERATOR_MODULE
from tests.cluster.base import Kubectl
from tests.tools.build import module_source

_OVERLAY = "manifests/overlays/standalone"


def image() -> str:
    """The name of the operator's image in its manifests, without its host."""
    kustomization = yaml.safe_load((module_source(OPERATOR_MODULE) / _OVERLAY / "kustomization.yaml").read_text())
    (entry,) = kustomization["images"]
    return f"{entry['name'].partition('/')[2]}:{entry['newTag']}"


def install(kubectl: Kubectl) -> None:
    """``kubectl apply --server-side -k``, as k8s/README.md has it."""
    with tempfile.TemporaryDirectory() as folder:
        kubectl("apply", "--server-side", "-k", str(writable_overlay(Path(folder))))


def writable_overlay(folder: Path) -> Path:
    """The operator's kustomization, copied into ``folder``: the module's own files are read-only."""
    _copy_tree(module_source(OPERATOR_MODULE) / "manifests", folder / "manifests")
    return folder / _OVERLAY


def _copy_tree(source: Path, target: Path) -> None:
    """A writable copy of a folder of the module cache, whose files are read-only."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def wait_until_ready(kubectl: Kubectl) -> None:
    """Until the operator runs and its webhook answers."""
    arguments = ("rollout", "status", "deployment/training-operator", "--timeout=300s")
    kubectl("--namespace=kubeflow", *arguments, timeout=310)
