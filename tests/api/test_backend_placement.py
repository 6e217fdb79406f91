"""Where a job goes: the shape of real Node objects, what is free on them, and the namespace's quota."""

from typing import Any

import pytest

from launcher.errors import DoesNotFit
from launcher.job.placement import Placement
from launcher.job.spec import JobSpec
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.jobs import IMAGE, Jobs, eventually
from tests.api.reference_job import reference_pod
from tests.api.rest import Rest
from tests.unit.fake_jobs import digits_spec


class Pool:
    """Nodes of one test, told from all others by a label."""

    def __init__(self, actor: ClusterActor, namespace: str) -> None:
        self._actor = actor
        self.label = {"pool": namespace}
        self.namespace = namespace

    def node(self, number: int, gpus: int) -> str:
        name = f"{self.namespace[-40:].strip('-')}-{number}"
        self._actor.node(name, gpus=gpus)
        self._actor.rest.patch("Node", name, None, {"metadata": {"labels": self.label}})
        return name

    def spec(self, gpus: int, **changes: Any) -> JobSpec:
        return digits_spec(image=IMAGE, processes=None, gpus=gpus, node_selector=self.label, **changes)


@pytest.fixture
def pool(actor: ClusterActor, namespace: str) -> Pool:
    return Pool(actor, namespace)


@pytest.fixture
def jobs(kubeconfig_for: KubeconfigFor) -> Jobs:
    return Jobs(kubeconfig_for("submitter-viewer"))


def test_a_job_is_split_by_the_nodes_of_the_cluster(jobs: Jobs, pool: Pool) -> None:
    pool.node(0, 4)
    pool.node(1, 4)
    assert jobs.backend.place(pool.spec(8)) == Placement(nodes=2, ranks_per_node=4)
    assert jobs.said == []


def test_stated_nodes_win_over_those_of_the_cluster(jobs: Jobs, pool: Pool) -> None:
    pool.node(0, 4)
    stated = pool.spec(8, nodes=[{"count": 1, "gpus": 8}])
    assert jobs.backend.place(stated) == Placement(nodes=1, ranks_per_node=8)


def test_more_gpus_than_the_cluster_has_now_wait_for_nodes(jobs: Jobs, pool: Pool) -> None:
    pool.node(0, 4)
    assert jobs.backend.place(pool.spec(16)) == Placement(nodes=4, ranks_per_node=4)
    assert any("the job waits until nodes are added" in line for line in jobs.said)


def test_a_cluster_without_gpu_nodes_may_scale_from_zero(jobs: Jobs, pool: Pool) -> None:
    assert jobs.backend.place(pool.spec(8)) == Placement(nodes=1, ranks_per_node=8)
    assert any("no node has nvidia.com/gpu now" in line for line in jobs.said)


def test_a_total_that_no_equal_split_gives_is_refused_with_ways_out(jobs: Jobs, pool: Pool) -> None:
    pool.node(0, 2)
    with pytest.raises(DoesNotFit, match="--gpus-per-node 1"):
        jobs.backend.place(pool.spec(3))


def test_busy_nodes_only_warn(jobs: Jobs, pool: Pool, admin: Rest, namespace: str) -> None:
    busy = pool.node(0, 4)
    pod = reference_pod("busy", namespace, gpus=3)
    pod["spec"]["nodeName"] = busy
    admin.create(pod)
    assert jobs.backend.place(pool.spec(4)) == Placement(nodes=1, ranks_per_node=4)
    assert any("room for 0 of 1 pods of 4 GPUs now" in line for line in jobs.said)


def test_who_may_not_see_nodes_gets_a_plan_and_one_warning(kubeconfig_for: KubeconfigFor, pool: Pool) -> None:
    pool.node(0, 4)
    jobs = Jobs(kubeconfig_for("submitter"))
    assert jobs.backend.place(pool.spec(8)) == Placement(nodes=1, ranks_per_node=8)
    assert len(jobs.said) == 1
    assert "may not be listed" in jobs.said[0]


def test_more_than_the_quota_would_ever_allow_is_refused_before_anything_is_created(
    jobs: Jobs, pool: Pool, admin: Rest, namespace: str
) -> None:
    eventually(lambda: admin.get("ResourceQuota", "training", namespace).get("status", {}).get("hard"))
    with pytest.raises(DoesNotFit, match=r"quota training of namespace .* allows 16 of requests.nvidia.com/gpu"):
        jobs.backend.submit(pool.spec(24), Placement(nodes=3, ranks_per_node=8), fresh=False)
    assert admin.list("PyTorchJob", namespace) == []


def test_a_quota_that_others_use_up_only_warns(jobs: Jobs, pool: Pool, admin: Rest, namespace: str) -> None:
    admin.create(reference_pod("busy", namespace, gpus=12))
    used = "requests.nvidia.com/gpu"
    eventually(lambda: admin.get("ResourceQuota", "training", namespace)["status"].get("used", {}).get(used) == "12")
    jobs.backend.submit(pool.spec(8), Placement(nodes=1, ranks_per_node=8), fresh=False)
    assert any(f"has 4 of {used} left" in line for line in jobs.said)
