"""The training operator, installed from the manifests of its pinned module as a user installs it."""

import tempfile
from pathlib import Path

import yaml

from tests.api.control_plane import OPERATOR_MODULE
from tests.api.manifests import K8S
from tests.cluster.base import Kubectl
from tests.tools.build import module_source

_OVERLAY = "manifests/overlays/standalone"


def image() -> str:
    """The name of the operator's image in its manifests, without its host."""
    kustomization = yaml.safe_load((module_source(OPERATOR_MODULE) / _OVERLAY / "kustomization.yaml").read_text())
    (entry,) = kustomization["images"]
    return f"{entry['name'].partition('/')[2]}:{entry['newTag']}"


def install_types(kubectl: Kubectl) -> None:
    """The job types alone: the quota controller, which looks for new types twice a minute, should find them there."""
    with tempfile.TemporaryDirectory() as folder:
        _copy_tree(module_source(OPERATOR_MODULE) / "manifests" / "base" / "crds", Path(folder))
        kubectl("apply", "--server-side", "-k", folder)


def install(kubectl: Kubectl) -> None:
    """``kubectl apply --server-side -k k8s/operator``, with the manifests of the pinned module.

    They are copied as that page's "Air-gapped" says: kustomize would fetch them from elsewhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        upstream = Path(folder) / "upstream"
        _copy_tree(module_source(OPERATOR_MODULE) / "manifests", upstream)
        kustomization = yaml.safe_load((K8S / "operator" / "kustomization.yaml").read_text())
        kustomization["resources"] = ["upstream/overlays/standalone"]
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        kubectl("apply", "--server-side", "-k", folder)


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
