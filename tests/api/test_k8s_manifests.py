"""k8s/ as a real API server takes it: what a team's namespace refuses, and what its users may do."""

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.control_plane import OPERATOR_MODULE, ControlPlane
from tests.api.manifests import K8S, ROOT, kustomize
from tests.api.reference_job import reference_job, reference_pod
from tests.api.rest import ApiError, Object, Rest
from tests.tools.build import module_source, tool


def kubectl(plane: ControlPlane, folder: Path, *arguments: str) -> str:
    config = folder / "admin.kubeconfig"
    if not config.exists():
        plane.kubeconfig(config, "admin")
    command = [str(tool("kubectl")), f"--kubeconfig={config}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kubectl_applies_it_and_a_second_time_changes_nothing(control_plane: ControlPlane, tmp_path: Path) -> None:
    # The roles exist by the fixture, which is not kubectl; taking them over is what --force-conflicts is for.
    apply = ("apply", "--server-side", "--force-conflicts", "-k", str(K8S))
    kubectl(control_plane, tmp_path, *apply)
    before = _contents(control_plane.rest())
    kubectl(control_plane, tmp_path, *apply)
    assert _contents(control_plane.rest()) == before
    assert {"deny-all", "training-pods", "dns", "same-namespace", "results", "datasets"} <= before.keys()


def _contents(admin: Rest) -> dict[str, list[Any]]:
    kinds = ("NetworkPolicy", "RoleBinding", "PersistentVolumeClaim", "LimitRange")
    found = [obj for kind in kinds for obj in admin.list(kind, "training")]
    parts = ("spec", "roleRef", "subjects")
    return {obj["metadata"]["name"]: [obj["metadata"]["uid"], *(obj.get(part) for part in parts)] for obj in found}


def test_the_kind_variant_is_accepted_and_its_claims_name_its_volumes(admin: Rest) -> None:
    objects = kustomize(K8S / "kind")
    for obj in objects:
        if "namespace" in obj["metadata"]:
            obj["metadata"]["namespace"] = "default"
        admin.apply(obj, dry_run=True)
    claimed = {obj["spec"]["volumeName"] for obj in objects if obj["kind"] == "PersistentVolumeClaim"}
    volumes = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "PersistentVolume"}
    assert claimed == volumes


def _only(objects: list[Object], kind: str) -> Object:
    (found,) = (obj for obj in objects if obj["kind"] == kind)
    return found


def test_the_kind_volumes_lie_in_the_folder_that_all_its_workers_share() -> None:
    nodes = yaml.safe_load((K8S / "kind-config.yaml").read_text())["nodes"]
    mounts = [node["extraMounts"] for node in nodes if node["role"] == "worker"]
    shared = mounts[0][0]["containerPath"]
    assert all(mount == mounts[0] for mount in mounts)
    volumes = yaml.safe_load_all((K8S / "kind" / "volumes.yaml").read_text())
    assert all(volume["spec"]["hostPath"]["path"].startswith(f"{shared}/") for volume in volumes)


def test_the_operator_is_pinned_to_the_version_that_the_tests_take_its_types_from() -> None:
    (url,) = yaml.safe_load((K8S / "operator" / "kustomization.yaml").read_text())["resources"]
    go_mod = (ROOT / "tests" / "tools" / "operator" / "go.mod").read_text()
    version = re.search(rf"{re.escape(OPERATOR_MODULE)} (v\S+)", go_mod)
    assert version
    assert url.endswith(f"?ref={version[1]}")


def test_the_operators_own_manifests_are_accepted(admin: Rest) -> None:
    (url,) = yaml.safe_load((K8S / "operator" / "kustomization.yaml").read_text())["resources"]
    objects = kustomize(module_source(OPERATOR_MODULE) / _path_in_repository(url))
    admin.apply(_only(objects, "Namespace"))
    for obj in objects:
        admin.apply(obj, dry_run=True)
    assert {"PyTorchJob", "Deployment"} <= {obj["kind"] for obj in objects} | _defined_kinds(objects)


def _defined_kinds(objects: list[Object]) -> set[str]:
    return {obj["spec"]["names"]["kind"] for obj in objects if obj["kind"] == "CustomResourceDefinition"}


def _path_in_repository(url: str) -> str:
    return url.split("//")[2].split("?")[0]


# --- Pod Security ----------------------------------------------------------------------------------------------------


def test_the_namespace_accepts_a_pod_of_the_restricted_profile(admin: Rest, namespace: str) -> None:
    admin.create(reference_pod("good", namespace), dry_run=True)


@pytest.mark.parametrize(
    ("security", "words"),
    [
        ({"privileged": True, "allowPrivilegeEscalation": True}, "privileged"),
        ({"allowPrivilegeEscalation": True}, "allowPrivilegeEscalation != false"),
        ({"capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]}}, "unrestricted capabilities"),
        ({"runAsUser": 0}, "runAsUser=0"),
        ({"runAsNonRoot": False}, "runAsNonRoot != true"),
        ({"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_namespace_refuses_a_pod_that_breaks_the_restricted_profile(
    admin: Rest, namespace: str, security: dict[str, Any], words: str
) -> None:
    with pytest.raises(ApiError, match="violates PodSecurity") as refusal:
        admin.create(reference_pod("bad", namespace, **security), dry_run=True)
    assert words in refusal.value.message


# --- quota -----------------------------------------------------------------------------------------------------------


def test_the_quota_refuses_gpus_beyond_it(admin: Rest, namespace: str) -> None:
    admin.create(reference_pod("first", namespace, gpus=10))
    with pytest.raises(ApiError, match=r"exceeded quota.*requests\.nvidia\.com/gpu"):
        admin.create(reference_pod("second", namespace, gpus=10))


def test_the_quota_opens_no_port_to_the_outside(admin: Rest, namespace: str) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
    metadata = {"name": "door", "namespace": namespace}
    with pytest.raises(ApiError, match=r"exceeded quota.*services\.loadbalancers"):
        admin.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def test_the_quota_counts_jobs(admin: Rest, namespace: str) -> None:
    admin.patch("ResourceQuota", "training", namespace, {"spec": {"hard": {"count/pytorchjobs.kubeflow.org": "1"}}})
    _wait_for_quota(admin, namespace, "count/pytorchjobs.kubeflow.org", "1")
    admin.create(reference_job("one", namespace))
    with pytest.raises(ApiError, match="exceeded quota"):
        admin.create(reference_job("two", namespace))


def _wait_for_quota(admin: Rest, namespace: str, resource: str, value: str) -> None:
    while admin.get("ResourceQuota", "training", namespace)["status"]["hard"].get(resource) != value:
        time.sleep(0.02)


def test_a_container_without_requests_gets_some_and_no_limit(admin: Rest, namespace: str) -> None:
    pod = reference_pod("plain", namespace)
    del pod["spec"]["containers"][0]["resources"]
    made = admin.create(pod, dry_run=True)["spec"]["containers"][0]["resources"]
    assert made == {"requests": {"cpu": "500m", "memory": "1Gi"}}


def test_a_container_with_requests_alone_is_not_refused_for_a_default_limit(admin: Rest, namespace: str) -> None:
    pod = reference_pod("large", namespace)
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "96", "memory": "900Gi"}}
    admin.create(pod, dry_run=True)
