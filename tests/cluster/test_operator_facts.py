"""What the training operator makes of a PyTorchJob: variables, names, services, and what happens when it may not."""

from collections.abc import Iterator

import pytest

from launcher.job.spec import MAX_NAME
from tests.cluster.base import GPUS, Cluster
from tests.cluster.raw_jobs import LABELS, SLEEP, Object, Seen, container, job, namespace, replica

PRINT_VARIABLES = "env; echo printed"
RANK_BY_LABEL = {"valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{LABELS}/replica-index']"}}}
CHARTS_OWN = [{"name": "PET_NODE_RANK", **RANK_BY_LABEL}, {"name": "PET_MASTER_ADDR", "value": "named-worker-0"}]
IN_VAIN = [
    {"name": "PET_NNODES", "value": "9"},
    {"name": "PET_NPROC_PER_NODE", "value": "9"},
    {"name": "PYTHONUNBUFFERED", "value": "0"},
]
# More GPUs than the node has, so that none is taken; two such pods are more than the namespace's quota of 16.
MANY_GPUS = {"nvidia.com/gpu": str(GPUS + 1)}
LONGEST = "n" * MAX_NAME
# <job>-worker-0 then has 64 characters.
TOO_LONG = "n" * (64 - len("-worker-0"))
NAME_OF_A_POD = "/opt/venv/bin/python -c 'import socket, sys; print(socket.gethostbyname(sys.argv[1]))'"
ELASTIC = {"minReplicas": 1, "maxReplicas": 3, "rdzvBackend": "c10d", "rdzvId": "elastic"}


@pytest.fixture(scope="module")
def seen(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """All jobs of this module, created at once."""
    never_ready = {"exec": {"command": ["false"]}}
    jobs = (
        job("named", replica(PRINT_VARIABLES, 2, env=CHARTS_OWN + IN_VAIN)),
        # They go on: once one pod has succeeded, the operator deletes the others.
        job("elastic", replica(f"{PRINT_VARIABLES}; {SLEEP}", 2), elasticPolicy=ELASTIC),
        job("ready", replica(SLEEP)),
        job("unready", replica(SLEEP, readinessProbe=never_ready)),
        job("master", replica(SLEEP), master=replica(SLEEP)),
        job("refused", replica(SLEEP, 2, resources={"requests": MANY_GPUS, "limits": MANY_GPUS})),
        job(LONGEST, replica(SLEEP)),
        job(TOO_LONG, replica(SLEEP)),
    )
    with namespace(cluster, "operator-makes", tmp_path_factory.mktemp("operator"), jobs) as seen:
        yield seen


def _variables(seen: Seen, pod: str) -> dict[str, str]:
    """What the first process of a pod found in its environment."""
    seen.until(lambda: seen.pod(pod)["status"]["phase"] in ("Running", "Succeeded"), f"{pod} has started")
    seen.until(lambda: seen.log(pod).endswith("printed\n"), f"{pod} has printed its variables")
    return dict(line.split("=", 1) for line in seen.log(pod).splitlines() if "=" in line)


def test_its_variables_come_last_and_win_over_the_jobs_own(seen: Seen) -> None:
    found = _variables(seen, "named-worker-0")
    names = [one["name"] for one in seen.pod("named-worker-0")["spec"]["containers"][0]["env"]]
    assert names[-3:] == ["PYTHONUNBUFFERED", "PET_NPROC_PER_NODE", "PET_NNODES"]
    assert [found[name] for name in names[-3:]] == ["1", "1", "2"]


def test_without_a_master_it_sets_neither_address_nor_rank_so_those_of_the_chart_stand(seen: Seen) -> None:
    set_by_the_operator = {one["name"] for one in seen.pod("ready-worker-0")["spec"]["containers"][0]["env"]}
    assert set_by_the_operator == {"PYTHONUNBUFFERED", "PET_NPROC_PER_NODE", "PET_NNODES"}
    assert _variables(seen, "named-worker-0")["PET_MASTER_ADDR"] == "named-worker-0"


def test_the_label_with_a_pods_index_is_there_before_its_variables_are_resolved(seen: Seen) -> None:
    ranks = [_variables(seen, f"named-worker-{index}")["PET_NODE_RANK"] for index in range(2)]
    assert ranks == ["0", "1"]


def test_an_elastic_policy_sets_the_bounds_and_a_rendezvous_but_no_address_and_no_rank(seen: Seen) -> None:
    found = _variables(seen, "elastic-worker-1")
    ours = {name: value for name, value in found.items() if name.startswith("PET_")}
    assert ours == {
        "PET_NNODES": "1:3",
        "PET_NPROC_PER_NODE": "1",
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": "elastic-worker-0:23456",
        "PET_RDZV_ID": "elastic",
    }


def test_with_a_master_workers_get_an_init_container_that_a_restricted_namespace_refuses(seen: Seen) -> None:
    message = _refusal(seen, "master", "FailedCreatePod")
    assert "violates PodSecurity" in message
    assert "init-pytorch" in message
    assert set(seen.pods("master")) == {"master-0"}


def test_a_refused_pod_leaves_the_others_without_services_and_the_job_without_any_condition(seen: Seen) -> None:
    assert "exceeded quota" in _refusal(seen, "refused", "FailedCreatePod")
    assert set(seen.pods("refused")) == {"worker-0"}
    assert seen.services("refused") == []
    status = seen.job("refused").get("status", {})
    assert "conditions" not in status
    assert "startTime" not in status


def test_what_its_pods_wait_for_is_a_warning_of_the_job_too(seen: Seen) -> None:
    found = seen.until(lambda: _warnings(seen, "refused", "Unschedulable"), "a warning about worker-0")
    assert found[0]["message"].startswith("Error pod refused-worker-0 condition message: 0/1 nodes are available")


def test_the_longest_name_of_the_launcher_gets_a_pod_and_a_service(seen: Seen) -> None:
    seen.until_running(LONGEST, 1)
    assert seen.services(LONGEST) == [f"{LONGEST}-worker-0"]
    assert len(f"{LONGEST}-worker-99999") == 63


def test_a_name_that_leaves_more_than_63_characters_gets_a_pod_that_runs_without_a_service(seen: Seen) -> None:
    message = _refusal(seen, TOO_LONG, "FailedCreateService")
    assert "no more than 63 characters" in message
    seen.until_running(TOO_LONG, 1)
    assert seen.conditions(TOO_LONG) == []


def test_the_name_of_a_pod_resolves_only_while_the_pod_is_ready(seen: Seen) -> None:
    seen.until_running("ready", 1)
    seen.until_running("unready", 1)
    address = seen.pod("ready-worker-0")["status"]["podIP"]
    seen.until(lambda: _resolved(seen, "ready-worker-0") == address, "the name of a ready pod resolves")
    assert seen.services("unready") == ["unready-worker-0"]
    assert _resolved(seen, "unready-worker-0") == ""


def test_any_job_can_be_scaled_but_only_new_pods_learn_the_new_number(seen: Seen) -> None:
    seen.create(job("scaled", replica(SLEEP)))
    first = seen.until_running("scaled", 1)["worker-0"]
    seen.kubectl("scale", "pytorchjob/scaled", "--replicas=2")
    pods = seen.until_running("scaled", 2)
    assert pods["worker-0"]["metadata"]["uid"] == first["metadata"]["uid"]
    assert [_nodes(pods[name]) for name in sorted(pods)] == ["1", "2"]
    seen.kubectl("scale", "pytorchjob/scaled", "--replicas=1")
    seen.until(lambda: set(seen.pods("scaled")) == {"worker-0"}, "worker 1 is gone")
    seen.until(lambda: seen.services("scaled") == ["scaled-worker-0"], "its service too")


def test_it_keeps_the_rules_that_restart_a_container_in_place(seen: Seen) -> None:
    seen.create(job("rules", replica(SLEEP, rules=True)))
    pod = seen.until_running("rules", 1)["worker-0"]
    ours = container(SLEEP, rules=True)
    made: Object = pod["spec"]["containers"][0]
    assert {key: made[key] for key in ("restartPolicy", "restartPolicyRules")} == {
        key: ours[key] for key in ("restartPolicy", "restartPolicyRules")
    }
    assert pod["spec"]["restartPolicy"] == "Never"


def _warnings(seen: Seen, name: str, reason: str) -> list[Object]:
    found = [one for one in seen.events("PyTorchJob", name) if one["reason"] == reason]
    assert all(one["type"] == "Warning" for one in found)
    return found


def _refusal(seen: Seen, name: str, reason: str) -> str:
    found = seen.until(lambda: _warnings(seen, name, reason), f"{reason} of {name}")
    return str(found[0]["message"])


def _resolved(seen: Seen, name: str) -> str:
    shell = ("exec", "ready-worker-0", "--", "sh", "-c", f"{NAME_OF_A_POD} {name}")
    return seen.kubectl.run(*shell).stdout.strip()


def _nodes(pod: Object) -> str:
    variables: dict[str, str] = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}
    return variables["PET_NNODES"]
