"""Whatever is killed in the middle of a run, the job ends by itself, byte-equal to a run that nobody disturbed."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.cluster.base import Cluster, Kubectl
from tests.cluster.jobs import Jobs
from tests.cluster.team import create_team
from tests.trainer_runs import last_checkpoint, leftovers

TRAIN = {
    "batch_size": 32,
    "model": {"name": "convnet", "blocks": [[16, 16], [32, 32]], "dropout": 0.2},
    "data": {"kind": "digits", "augment": {"pad_crop": 1}},
    "optimizer": {"name": "adamw", "lr": 0.003},
    "schedule": {"name": "one-cycle"},
    "checkpoint": {"every_steps": 9},
    "logging": {"every_steps": 4},  # not a divisor of where it is killed: sums in the middle of a window must survive
}
STEPS_AN_EPOCH = 1437 // 32
SEED = int(os.environ.get("KILL_SEED", "20261124"))
# Two pods of two ranks each.
SHAPE = ("--gpus", "4", "--gpus-per-node", "2")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Path]]:
    """The results of the same job of so many epochs that nobody disturbed."""
    team = create_team(cluster, f"undisturbed-{os.getpid()}", tmp_path_factory.mktemp("undisturbed"))
    jobs = Jobs(team)

    @cache
    def results(epochs: int) -> Path:
        name = f"epochs-{epochs}"
        jobs.submit(name, *SHAPE, train={**TRAIN, "epochs": epochs})
        assert jobs.wait_for_end(name) == "Succeeded", jobs.describe(name)
        return jobs.results_folder(name)

    yield results
    team.delete()


@dataclass(frozen=True)
class Disturbance:
    """What is done to the job, which of its pods may be others afterwards, and how long the job must be."""

    do: Callable[[Jobs], None]
    replaced: tuple[str, ...] = ()
    epochs: int = 5


def _kill_a_rank(jobs: Jobs) -> None:
    jobs.signal_newest_rank("job-worker-1", "KILL")


def _delete_pod(index: int) -> Callable[[Jobs], None]:
    def delete(jobs: Jobs) -> None:
        pod = f"job-worker-{index}"
        before = jobs.pod_uids("job")[pod]
        jobs.team.admin("delete", "pod", pod, "--wait=false")
        jobs.wait_until(lambda: jobs.pod_uids("job").get(pod, before) != before, name="job")

    return delete


def _drain(jobs: Jobs) -> None:
    """Drain the node that worker 1 is on, as for maintenance; the rest of the cluster may stay."""
    node = jobs.pods("job")[1]["spec"]["nodeName"]
    before = jobs.pod_uids("job")
    options = ("--pod-selector=training.kubeflow.org/job-name=job", "--delete-emptydir-data", "--ignore-daemonsets")
    jobs.team.admin("drain", node, "--force", *options, "--timeout=100s")
    jobs.team.admin("uncordon", node)
    jobs.wait_until(lambda: set(jobs.pod_uids("job").values()).isdisjoint(before.values()), name="job")


def _restart_the_operator(jobs: Jobs) -> None:
    """Without waiting for the new one: what ends the next time is what runs then."""
    operator = Kubectl(jobs.team.cluster.kubeconfig, "kubeflow")
    operator("delete", "pod", "--selector=control-plane=kubeflow-training-operator", "--wait=false")


def _restart_the_api_server(jobs: Jobs) -> None:
    jobs.team.cluster.restart_api_server(away=2)


DISTURBANCES = {
    "SIGKILL of a rank": Disturbance(_kill_a_rank),
    "delete worker-1": Disturbance(_delete_pod(1), ("job-worker-1",)),
    "delete worker-0": Disturbance(_delete_pod(0), ("job-worker-0",)),
    "drain of the node": Disturbance(_drain, ("job-worker-0", "job-worker-1")),
    # The job trains on meanwhile.
    "restart of the operator": Disturbance(_restart_the_operator, epochs=30),
    "restart of the API server": Disturbance(_restart_the_api_server, epochs=30),
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_job_disturbed_at_three_random_steps_ends_byte_equal(
    name: str, jobs: Jobs, cluster: Cluster, undisturbed: Callable[[int], Path]
) -> None:
    if name == "restart of the API server" and cluster.name == "existing":
        pytest.skip("the API server of an existing cluster is not ours to restart")
    disturbance = DISTURBANCES[name]
    reference, steps = undisturbed(disturbance.epochs), disturbance.epochs * STEPS_AN_EPOCH
    _wait_for_the_operator(cluster)
    jobs.submit("job", *SHAPE, train={**TRAIN, "epochs": disturbance.epochs})
    jobs.wait_until(lambda: len(jobs.pods("job")) == 2, name="job")
    uids = jobs.pod_uids("job")
    for step in _random_steps(name, steps):
        jobs.wait_until(lambda: jobs.steps_done("job") >= step, name="job", seconds=180)  # noqa: B023
        assert jobs.steps_done("job") < steps, "the job was over before it was disturbed"
        disturbance.do(jobs)
    assert jobs.wait_for_end("job") == "Succeeded", jobs.describe("job")
    kept = {pod: uid for pod, uid in uids.items() if pod not in disturbance.replaced}
    assert kept.items() <= jobs.pod_uids("job").items(), "a pod was made again that nobody deleted"
    _assert_equal(jobs.results_folder("job"), reference, steps)


def _wait_for_the_operator(cluster: Cluster) -> None:
    Kubectl(cluster.kubeconfig, "kubeflow")("rollout", "status", "deployment/training-operator", "--timeout=100s")


def _random_steps(name: str, steps: int) -> list[int]:
    """Three steps, far enough apart for the job to be in full swing again, and not too near its end."""
    chosen = random.Random(f"{SEED} {name}")
    return [chosen.randrange(low, low + steps // 9) for low in (steps // 15, steps // 3, steps * 3 // 5)]


def _assert_equal(folder: Path, undisturbed: Path, steps: int) -> None:
    ours, theirs = last_checkpoint(folder), last_checkpoint(undisturbed)
    assert ours.name == theirs.name == f"step-{steps:08d}"
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), f"{name} differs"
    for name in ("metrics.jsonl", "predictions/test.csv"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), f"{name} differs"
    assert not leftovers(folder)
