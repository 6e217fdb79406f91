"""What the launcher says of an elastic PyTorchJob that was scaled."""

from datetime import UTC, datetime
from typing import Any

import pytest

from launcher.backends.base import State
from launcher.backends.kubernetes.record import Job
from launcher.backends.kubernetes.status import Facts, judge


def elastic_job(replicas: int | None, **policy: Any) -> Job:
    return Job(
        {
            "metadata": {"name": "digits", "namespace": "team", "uid": "1"},
            "spec": {"elasticPolicy": policy, "pytorchReplicaSpecs": {"Worker": {"replicas": replicas}}},
            "status": {"conditions": [{"type": "Running", "status": "True"}]},
        }
    )


@pytest.mark.parametrize(
    ("replicas", "reason"),
    [(0, "scaled to 0, and needs 2 pods"), (1, "scaled to 1, and needs 2 pods"), (2, ""), (5, "")],
)
def test_a_job_scaled_below_its_least_number_of_pods_says_so(replicas: int, reason: str) -> None:
    verdict = judge(Facts(job=elastic_job(replicas, minReplicas=2), pods=(), now=datetime.now(UTC)))
    assert (verdict.state, verdict.reason) == (State.RUNNING, reason)
    assert ("kubectl scale pytorchjob/digits -n team --replicas=2" in verdict.advice) == bool(reason)


@pytest.mark.parametrize("replicas", [None, 1, 3])
def test_a_job_of_a_fixed_size_needs_the_pods_that_it_has(replicas: int | None) -> None:
    job = elastic_job(replicas)
    assert job.least_nodes == job.stated_nodes == job.nodes == (replicas or 1)


def test_a_job_that_was_scaled_to_0_is_not_done_although_the_operator_calls_it_succeeded() -> None:
    job = elastic_job(0, minReplicas=1)
    job.status["conditions"] = [{"type": "Succeeded", "status": "True", "lastTransitionTime": "2026-11-24T23:44:22Z"}]
    verdict = judge(Facts(job=job, pods=(), now=datetime.now(UTC)))
    assert (verdict.state, verdict.exit_code) == (State.FAILED, None)
    assert verdict.reason.startswith("scaled to 0")
