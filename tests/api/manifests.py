"""The manifests of k8s/ as kubectl's kustomize renders them, and namespaces made of them."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from tests.api.control_plane import ControlPlane
from tests.api.rest import ApiError, Object, Rest, load_objects
from tests.tools.build import tool

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
_ANY_NAMESPACE = "a-teams-namespace"

# Users who have one role of k8s/ in each fresh namespace; the example bindings there serve the group ml-engineers.
_ROLES = {"submitter-only": "pytorchjob-submitter", "results-reader": "pytorchjob-results-reader"}
_VIEWERS = ("viewer", "submitter-viewer")


@dataclass(frozen=True)
class SetUp:
    """What an administrator applies: cluster roles once, and a set of objects for each team's namespace."""

    roles: list[Object]
    namespace_template: str

    def namespace(self, name: str) -> list[Object]:
        """The objects of a team's namespace, the namespace itself first."""
        objects = load_objects(self.namespace_template.replace(_ANY_NAMESPACE, name))
        return sorted(objects, key=lambda obj: str(obj["kind"] != "Namespace"))


@cache
def load_set_up() -> SetUp:
    """Render k8s/, the namespace through an overlay as a second team's.

    Raises:
        ToolMissing: There is no kubectl.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = os.path.relpath(K8S / "namespace", Path(folder).resolve())
        overlay = {"namespace": _ANY_NAMESPACE, "resources": [base]}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return SetUp(kustomize(K8S / "roles"), rendered(Path(folder)))


def kustomize(folder: Path) -> list[Object]:
    """The objects that kubectl makes of a kustomization."""
    return load_objects(rendered(folder))


def rendered(folder: Path) -> str:
    """What kubectl prints of a kustomization."""
    command = [str(tool("kubectl")), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install_roles(plane: ControlPlane, set_up: SetUp) -> None:
    """Create the cluster roles, and bind the viewers, who see the whole cluster."""
    admin = plane.rest()
    for role in set_up.roles:
        admin.create(role)
    for user in _VIEWERS:
        admin.create(binding(user, "pytorchjob-cluster-viewer"))


def create_namespace(plane: ControlPlane, set_up: SetUp, name: str) -> None:
    """Create a team's namespace with its users, and wait until quota and service account are in force."""
    admin = plane.rest()
    for obj in set_up.namespace(name):
        admin.create(obj)
    for user, role in _ROLES.items():
        admin.create(binding(user, role, name))
    plane.servers[-1].wait_until(lambda: _in_force(admin, name))


def binding(user: str, role: str, namespace: str | None = None) -> Object:
    """Give a user a cluster role: in one namespace, or everywhere."""
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": f"{user}-{role}"} | ({"namespace": namespace} if namespace else {}),
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def _in_force(admin: Rest, namespace: str) -> bool:
    """Whether the controllers have seen the namespace: pods are refused until they have."""
    try:
        admin.get("ServiceAccount", "default", namespace)
    except ApiError:
        return False
    return all("used" in quota.get("status", {}) for quota in admin.list("ResourceQuota", namespace))
