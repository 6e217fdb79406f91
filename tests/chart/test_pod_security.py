"""Every pod template against the `restricted` Pod Security Standard, and what this project asks for beyond it."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launcher.job.field_types import quantity
from launcher.job.render import render
from tests.chart.scenarios import NAME, NAMESPACE, SCENARIOS, values_of

Pod = dict[str, Any]

ALLOWED_VOLUMES = {"emptyDir", "persistentVolumeClaim", "downwardAPI", "configMap", "secret", "projected", "csi"}
PLATFORM_CHOOSES_THE_USER = {"openshift"}
ROOT_IS_WRITABLE = {"command-job"}


def template_of(scenario: str) -> Pod:
    job = render(values_of(scenario), name=NAME, namespace=NAMESPACE)[-1]
    template: Pod = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    return template


def containers(pod: Pod) -> list[Pod]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def restricted(pod: Pod) -> Iterator[str]:
    """What the standard refuses."""
    spec = pod["spec"]
    yield from (f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if key in spec)
    yield from (f"volume {volume}" for volume in spec["volumes"] if not set(volume) - {"name"} <= ALLOWED_VOLUMES)
    for place in (spec, *containers(pod)):
        context = place.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
            yield "may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield "no seccomp profile"
        if set(context) & {"seLinuxOptions", "sysctls", "windowsOptions", "procMount", "appArmorProfile"}:
            yield "an option that the standard limits"
    for container in containers(pod):
        context = container["securityContext"]
        if context.get("allowPrivilegeEscalation") is not False or "privileged" in context:
            yield "may gain privileges"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield "keeps capabilities"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield "takes a host port"


def house_rules(pod: Pod) -> Iterator[str]:
    """What this project asks for beyond the standard."""
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    if spec.get("enableServiceLinks") is not False:
        yield "gets the address of every service"
    if spec.get("terminationGracePeriodSeconds", 0) < 60:
        yield "no time to save"
    if pod["metadata"]["annotations"].get("sidecar.istio.io/inject") != "false":
        yield "a sidecar would keep it alive"
    for container in containers(pod):
        yield from _container_rules(spec, container)


def _container_rules(spec: Pod, container: Pod) -> Iterator[str]:
    if container["securityContext"].get("readOnlyRootFilesystem") is not True:
        yield "root file system is writable"
    if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        yield "loses its last words"
    limits, requests = container["resources"].get("limits", {}), container["resources"].get("requests", {})
    if limits != requests:
        yield "limits and requests differ"
    names = [variable["name"] for variable in container["env"]]
    if len(names) != len(set(names)):
        yield "a variable twice"
    if {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"} in container["env"]:
        yield "sees every GPU"
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    if set(mounts.values()) != set(volumes) or len(mounts) != len(container["volumeMounts"]):
        yield "mounts and volumes differ"
    shm = volumes[mounts["/dev/shm"]]["emptyDir"]
    if shm["medium"] != "Memory" or quantity(shm["sizeLimit"]) >= quantity(limits.get("memory", "1Ti")):
        yield "shared memory is not inside the memory limit"
    if "emptyDir" not in volumes[mounts["/tmp"]]:
        yield "nowhere for caches"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_passes_the_restricted_standard(scenario: str) -> None:
    assert list(restricted(template_of(scenario))) == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_keeps_the_house_rules_unless_its_scenario_says_otherwise(scenario: str) -> None:
    expected = ["root file system is writable"] if scenario in ROOT_IS_WRITABLE else []
    assert list(house_rules(template_of(scenario))) == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_user_is_numeric_unless_the_platform_chooses_it(scenario: str) -> None:
    context = template_of(scenario)["spec"]["securityContext"]
    ids = {key: context.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")}
    assert ids == dict.fromkeys(ids, None if scenario in PLATFORM_CHOOSES_THE_USER else 10001)
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"


def spoil(path: str, value: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        *parents, last = path.split(".")
        here: Any = pod
        for step in parents:
            here = here[int(step)] if step.isdecimal() else here[step]
        here[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        spoil("spec.hostNetwork", value=True),
        spoil("spec.securityContext.runAsNonRoot", value=False),
        spoil("spec.containers.0.securityContext.runAsUser", 0),
        spoil("spec.containers.0.securityContext.allowPrivilegeEscalation", value=True),
        spoil("spec.containers.0.securityContext.capabilities", {"drop": ["ALL"], "add": ["IPC_LOCK"]}),
        spoil("spec.securityContext.seccompProfile", {"type": "Unconfined"}),
        spoil("spec.initContainers", [{"name": "init-pytorch"}]),
        spoil("spec.volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
        spoil("spec.containers.0.ports", [{"containerPort": 1, "hostPort": 1}]),
    ],
)
def test_the_check_sees_a_pod_that_breaks_the_standard(change: Callable[[Pod], None]) -> None:
    pod = copy.deepcopy(template_of("cpu"))
    change(pod)
    with pytest.raises((AssertionError, KeyError)):
        assert list(restricted(pod)) == []
