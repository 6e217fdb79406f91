"""What the operator's webhook accepts, every scenario of the chart, and what it refuses, the rules of our renderer."""

import copy
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launcher.job.render import render
from tests.chart.scenarios import CI_FILES, model_of, values_file
from tests.cluster.base import Cluster
from tests.cluster.team import Team, create_team

Job = dict[str, Any]
CREATE = ("create", "--validate=strict", "--filename=-")
AWAY_SECONDS = 120


@pytest.fixture(scope="module")
def team(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One namespace for all: no job starts here."""
    team = create_team(cluster, f"webhook-{os.getpid()}", tmp_path_factory.mktemp("webhook"))
    yield team
    team.delete()


def job_of(scenario: str, team: Team, *, name: str = "digits") -> Job:
    """The PyTorchJob that the chart makes of a values file, suspended so that nothing starts."""
    values = model_of({**values_file(scenario), "suspend": True})
    return render(values, name=name, namespace=team.namespace)[-1]


def ask(team: Team, *arguments: str, job: Job | None = None) -> subprocess.CompletedProcess[str]:
    """One command of the submitter, again while the webhook does not answer: other tests restart the operator."""
    give_up = time.monotonic() + AWAY_SECONDS
    while True:
        done = team.submitter.run(*arguments, stdin=json.dumps(job) if job else None)
        if "failed calling webhook" not in done.stderr or time.monotonic() > give_up:
            return done
        time.sleep(1)


def create(team: Team, job: Job, *options: str) -> None:
    """It must be accepted."""
    done = ask(team, *CREATE, *options, job=job)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("scenario", CI_FILES)
def test_the_webhook_accepts_each_scenario_of_the_chart(scenario: str, team: Team) -> None:
    job = job_of(scenario, team)
    assert job["kind"] == "PyTorchJob"
    create(team, job, "--dry-run=server")
    create(team, job)
    try:
        stored = team.submitter.json("get", "pytorchjob", "digits")
        assert stored["spec"]["nprocPerNode"] == job["spec"]["nprocPerNode"]
        assert set(stored["spec"]["pytorchReplicaSpecs"]) == {"Worker"}
    finally:
        team.submitter("delete", "pytorchjob", "digits")


def worker(job: Job) -> Job:
    spec: Job = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    return spec


def pod(job: Job) -> Job:
    spec: Job = worker(job)["template"]["spec"]
    return spec


def set_name(name: str) -> Callable[[Job], None]:
    return lambda job: job["metadata"].update(name=name)


def set_replicas(count: int) -> Callable[[Job], None]:
    return lambda job: worker(job).update(replicas=count)


def rename_container(job: Job) -> None:
    pod(job)["containers"][0]["name"] = "trainer"


def remove_image(job: Job) -> None:
    del pod(job)["containers"][0]["image"]


def remove_containers(job: Job) -> None:
    pod(job)["containers"] = []


def name_a_chief(job: Job) -> None:
    job["spec"]["pytorchReplicaSpecs"]["Chief"] = copy.deepcopy(worker(job))


def add_a_master(replicas: int | None) -> Callable[[Job], None]:
    def add(job: Job) -> None:
        master = job["spec"]["pytorchReplicaSpecs"]["Master"] = copy.deepcopy(worker(job))
        master["replicas"] = replicas
        if replicas is None:
            del master["replicas"]

    return add


def make_the_worker_a_master(job: Job) -> None:
    replicas = job["spec"]["pytorchReplicaSpecs"]
    replicas["Master"] = {**replicas.pop("Worker"), "replicas": 1}


def set_the_old_nproc(job: Job) -> None:
    job["spec"]["elasticPolicy"]["nProcPerNode"] = 1


def set_manager(job: Job) -> None:
    job["spec"]["runPolicy"]["managedBy"] = "example.com/other"


REFUSED: dict[str, tuple[Callable[[Job], None], str]] = {
    "a name that starts with a digit": (set_name("2digits"), "DNS-1035"),
    "a name of 64 characters": (set_name("d" * 64), "must be no more than 63"),
    "a name with a dot": (set_name("digits.v2"), "DNS-1035"),
    "no worker": (set_replicas(0), "replicas: Forbidden: must be at least 1"),
    "a container of another name": (rename_container, "at least one container with name pytorch"),
    "a container without an image": (remove_image, "image: Required value"),
    "no container": (remove_containers, "containers: Required value"),
    "a replica type of another framework": (name_a_chief, 'supported values: "Master", "Worker"'),
    "two masters": (add_a_master(2), "replicas: Forbidden: must be 1"),
    "a master without a number": (add_a_master(None), "replicas: Forbidden: must be 1"),
    "elastic without workers": (make_the_worker_a_master, "must be configured if elastic policy is used"),
    "both places of nproc": (set_the_old_nproc, "must not be used with spec.nprocPerNode"),
    "another manager": (set_manager, "spec.runPolicy.managedBy: Unsupported value"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_webhook_refuses(what: str, team: Team) -> None:
    change, words = REFUSED[what]
    job = job_of("elastic", team)
    change(job)
    refused = ask(team, *CREATE, "--dry-run=server", job=job)
    assert refused.returncode == 1
    assert "validator.pytorchjob.training-operator.kubeflow.org" in refused.stderr
    assert words in refused.stderr


def test_the_webhook_refuses_a_change_that_it_would_not_have_accepted_at_first(team: Team) -> None:
    job = job_of("cpu", team, name="changed")
    create(team, job)
    try:
        patch = json.dumps({"spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": 0}}}})
        refused = ask(team, "patch", "pytorchjob", "changed", "--type=merge", "--patch", patch)
        assert "must be at least 1" in refused.stderr
        # It is not asked about the scale subresource.
        team.submitter("scale", "pytorchjob/changed", "--replicas=0")
    finally:
        team.submitter("delete", "pytorchjob", "changed")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(set_name("d" * 63), id="a name whose pods' names do not fit"),
        pytest.param(set_replicas(5), id="more workers than an elastic job has at most"),
        pytest.param(lambda job: pod(job).pop("volumes"), id="mounts of volumes that it does not have"),
        pytest.param(lambda job: pod(job).update(initContainers=[{"name": "none"}]), id="an init container, no image"),
    ],
)
def test_the_webhook_leaves_to_the_launcher(change: Callable[[Job], Any], team: Team) -> None:
    job = job_of("elastic", team)
    change(job)
    create(team, job, "--dry-run=server")
