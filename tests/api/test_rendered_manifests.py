"""Whatever the chart and the launcher render, the API server takes, and its pods in a `restricted` namespace too."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.api.operator_objects import pod_of
from tests.api.rest import ApiError, Object, Rest, load_objects
from tests.command_line import EXAMPLES, ROOT, run_launcher
from tests.tools.build import ToolMissing, tool

CHART = ROOT / "charts" / "pytorchjob"
SCENARIOS = sorted((CHART / "ci").glob("*.yaml"))
JOB_FILES = sorted(EXAMPLES.glob("*.yaml"))
IMAGE = "registry.example/trainer@sha256:" + "0" * 64


def test_there_is_something_to_render() -> None:
    assert SCENARIOS
    assert JOB_FILES


@pytest.mark.parametrize("values", SCENARIOS, ids=lambda path: path.stem)
def test_the_server_accepts_a_scenario_of_the_chart(admin: Rest, namespace: str, values: Path) -> None:
    accepted_with_its_pods(admin, helm_template(values, namespace), namespace)


@pytest.mark.parametrize("job", JOB_FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "placement",
    [("--gpus", "0"), ("--gpus", "8"), ("--gpus", "8", "--nodes", "2x4")],
    ids=lambda flags: " ".join(flags),
)
def test_the_server_accepts_an_example(admin: Rest, namespace: str, job: Path, placement: tuple[str, ...]) -> None:
    objects = launcher_render(job, namespace, *placement)
    assert [obj["kind"] for obj in objects].count("PyTorchJob") == 1
    accepted_with_its_pods(admin, objects, namespace)


def test_a_field_that_the_type_does_not_have_is_refused(admin: Rest, namespace: str) -> None:
    job = _job(launcher_render(JOB_FILES[0], namespace))
    job["spec"]["runPolicy"]["backofLimit"] = 3
    with pytest.raises(ApiError, match=r'unknown field "spec\.runPolicy\.backofLimit"'):
        admin.create(job, dry_run=True)


def helm_template(values: Path, namespace: str) -> list[Object]:
    """The manifests of a values file by the real helm."""
    try:
        helm = tool("helm")
    except ToolMissing as reason:
        pytest.skip(f"no helm to render the chart: {reason}")
    command = [str(helm), "template", "scenario", str(CHART), "--namespace", namespace, "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return load_objects(done.stdout)


def launcher_render(job: Path, namespace: str, *flags: str) -> list[Object]:
    """The manifests of a job file by ``launcher render``."""
    done = run_launcher("render", str(job), "--namespace", namespace, "--image", IMAGE, *flags)
    assert done.returncode == 0, done.stderr
    return load_objects(done.stdout)


def accepted_with_its_pods(admin: Rest, objects: list[Object], namespace: str) -> None:
    """Strict dry runs of every object, and of the pod that the operator would make of the job."""
    _make_room(admin, namespace)
    for obj in objects:
        assert obj["metadata"]["namespace"] == namespace
        admin.create(obj, dry_run=True)
    job = _job(objects)
    pod = pod_of({**job, "metadata": {**job["metadata"], "uid": "00000000-0000-4000-8000-000000000000"}}, 0)
    _stage_what_it_names(admin, pod)
    admin.create(pod, dry_run=True)


def _make_room(admin: Rest, namespace: str) -> None:
    """Remove what would refuse a scenario for its size, or for a claim of the same name: neither is asked here."""
    admin.delete("ResourceQuota", "training", namespace)
    for claim in admin.list("PersistentVolumeClaim", namespace):
        admin.delete("PersistentVolumeClaim", claim["metadata"]["name"], namespace)
    while admin.list("PersistentVolumeClaim", namespace):
        time.sleep(0.02)


def _stage_what_it_names(admin: Rest, pod: Object) -> None:
    """Create the account and the priority class that a scenario takes for granted."""
    place = {"namespace": pod["metadata"]["namespace"]}
    if account := pod["spec"].get("serviceAccountName"):
        admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, **place}})
    if priority := pod["spec"].get("priorityClassName"):
        head = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
        admin.apply({**head, "metadata": {"name": priority}, "value": 1000})


def _job(objects: list[Object]) -> Object:
    (job,) = (obj for obj in objects if obj["kind"] == "PyTorchJob")
    return job
