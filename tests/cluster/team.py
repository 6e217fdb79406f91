"""A team's namespace as k8s/ makes it, and its members: on any cluster, service accounts bound to the roles of k8s/."""

import base64
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.api.control_plane import kubeconfig, write_private
from tests.api.manifests import load_set_up
from tests.cluster.base import Cluster, Kubectl

# Members and their roles of k8s/roles; the submitter also reads results, as the group of the example bindings does.
_ROLES = {
    "submitter": ("pytorchjob-submitter", "pytorchjob-results-reader"),
    "viewer": ("pytorchjob-cluster-viewer",),
}
_TRAINER_UID = 10001
_QUOTA_SECONDS = 60.0


@dataclass(frozen=True)
class Team:
    """A namespace with Pod Security, quota, network policies, claims, and its submitter."""

    namespace: str
    cluster: Cluster
    folder: Path
    """For kubeconfigs and job files."""

    @property
    def admin(self) -> Kubectl:
        """kubectl as the administrator, in the namespace."""
        return Kubectl(self.cluster.kubeconfig, self.namespace)

    @property
    def submitter(self) -> Kubectl:
        """kubectl as the submitter, in the namespace."""
        return Kubectl(self.kubeconfig, self.namespace)

    @property
    def kubeconfig(self) -> Path:
        """The submitter's."""
        return self.folder / "submitter.kubeconfig"

    def create_claim(self, name: str) -> None:
        """Another claim, as those of k8s/namespace."""
        claim = next(obj for obj in load_set_up().namespace(self.namespace) if obj["kind"] == "PersistentVolumeClaim")
        self.admin.apply(_with_volumes(self, [{**claim, "metadata": {**claim["metadata"], "name": name}}]))

    def delete(self) -> None:
        """Remove the namespace and its volumes; the rest goes in the background."""
        self.admin.run("delete", "namespace", self.namespace, "--wait=false")
        self.admin.run("delete", "persistentvolume", "--selector", f"team={self.namespace}", "--wait=false")


def install_roles(cluster: Cluster) -> None:
    """What an administrator applies once."""
    Kubectl(cluster.kubeconfig).apply(load_set_up().roles)


def create_team(cluster: Cluster, namespace: str, folder: Path) -> Team:
    """A fresh namespace with everything of k8s/namespace in it."""
    team = Team(namespace, cluster, folder)
    team.admin.apply(_with_volumes(team, load_set_up().namespace(namespace)))
    team.admin.apply(_members(namespace))
    token = team.admin("create", "token", "submitter", "--duration=3h").strip()
    view = team.admin.json("config", "view", "--raw", "--minify")["clusters"][0]["cluster"]
    authority = base64.b64decode(view["certificate-authority-data"])
    content = kubeconfig(view["server"], authority, token, user="submitter", namespace=namespace)
    write_private(team.kubeconfig, yaml.safe_dump(content))
    team.admin("wait", "persistentvolumeclaim", "--all", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")
    _wait_for_quota(team)
    return team


def _wait_for_quota(team: Team) -> None:
    """Until it is counted: before that the server refuses every pod and job."""
    end = time.monotonic() + _QUOTA_SECONDS
    while not all("used" in quota.get("status", {}) for quota in team.admin.items("get", "resourcequotas")):
        assert time.monotonic() < end, "the quota controller does not count"
        time.sleep(0.1)


def _members(namespace: str) -> list[dict[str, Any]]:
    group = "rbac.authorization.k8s.io"
    objects: list[dict[str, Any]] = []
    for member in _ROLES:
        objects.append(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": member, "namespace": namespace}}
        )
    for member, roles in _ROLES.items():
        for role in roles:
            objects.append(
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": f"{member}-{role}", "namespace": namespace},
                    "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                    "subjects": [{"kind": "ServiceAccount", "name": member, "namespace": namespace}],
                }
            )
    return objects


def _with_volumes(team: Team, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects, and what is behind the claims among them where the cluster provisions nothing."""
    if not team.cluster.shared_folder:
        return objects
    claims = [obj["metadata"]["name"] for obj in objects if obj["kind"] == "PersistentVolumeClaim"]
    bound = [_bound(obj) if obj["kind"] == "PersistentVolumeClaim" else obj for obj in objects]
    return bound + _volumes(team, claims)


def _bound(claim: dict[str, Any]) -> dict[str, Any]:
    """The claim, bound to the volume of its namespace."""
    name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
    spec = {**claim["spec"], "storageClassName": "", "volumeName": f"{namespace}-{name}"}
    return {**claim, "spec": spec}


def _volumes(team: Team, claims: list[str]) -> list[dict[str, Any]]:
    """A folder of the nodes behind each claim: a volume is the administrator's choice, whatever pods may mount."""
    assert team.cluster.shared_folder
    volumes = []
    for claim in claims:
        folder = team.cluster.shared_folder / team.namespace / claim
        folder.mkdir(parents=True)
        shutil.chown(folder, _TRAINER_UID, _TRAINER_UID)
        path = f"{team.cluster.node_folder}/{team.namespace}/{claim}"
        volumes.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{team.namespace}-{claim}", "labels": {"team": team.namespace}},
                "spec": {
                    "accessModes": ["ReadWriteMany"],
                    "capacity": {"storage": "1Ti"},
                    "claimRef": {"namespace": team.namespace, "name": claim},
                    "hostPath": {"path": path, "type": "Directory"},
                    "persistentVolumeReclaimPolicy": "Retain",
                },
            }
        )
    return volumes
