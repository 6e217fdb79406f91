"""Submitting to a real API server as the submitter: what each standing of a job and each change of its file lead to."""

import threading
from typing import Any

import pytest

from launcher.backends.base import State
from launcher.errors import InvalidJob, LauncherError
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.jobs import Jobs, bring_to, cluster
from tests.api.reference_job import reference_job
from tests.api.rest import Object, Rest

LONGER: dict[str, Any] = {"train": {"epochs": 5}}
DIFFERENT: dict[str, Any] = {"train": {"batch_size": 128}}


@pytest.fixture
def jobs(kubeconfig_for: KubeconfigFor) -> Jobs:
    return Jobs(kubeconfig_for("submitter"))


def the_job(admin: Rest, namespace: str) -> Object:
    """The one PyTorchJob of the namespace."""
    (job,) = admin.list("PyTorchJob", namespace)
    return job


def uid(job: Object) -> str:
    return str(job["metadata"]["uid"])


def test_a_first_submit_creates_one_job_as_it_is_rendered(jobs: Jobs, admin: Rest, namespace: str) -> None:
    submission = jobs.submit()
    job = the_job(admin, namespace)
    assert submission.outcome == "created"
    assert (submission.status.state, submission.status.attempt) == (State.PENDING, 0)
    assert (submission.status.nodes, submission.status.ranks) == (2, 2)
    assert submission.status.results == f"pvc/results/{namespace}/digits"
    assert job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2
    assert jobs.said == []


@pytest.mark.parametrize(
    ("standing", "change", "outcome", "same_object"),
    [
        ("created", {}, "unchanged", True),
        ("running", {}, "unchanged", True),
        ("running", LONGER, "unchanged", True),
        ("failed", {}, "resumed", False),
        ("failed", LONGER, "resumed", False),
        ("suspended", {}, "resumed", True),
        ("suspended", LONGER, "resumed", False),
        ("cancelled", {}, "resumed", True),
        ("cancelled", {"pods": 1}, "resumed", False),
        ("succeeded", {}, "already done", True),
        ("succeeded", {"train": {"epochs": 1}}, "already done", True),
        ("succeeded", LONGER, "resumed", False),
    ],
)
def test_the_same_run_is_left_alone_continued_or_done(
    jobs: Jobs,
    actor: ClusterActor,
    admin: Rest,
    namespace: str,
    standing: str,
    change: dict[str, Any],
    outcome: str,
    same_object: bool,
) -> None:
    bring_to(actor, jobs, standing)
    before = the_job(admin, namespace)
    with cluster(actor):
        assert jobs.submit(**change).outcome == outcome
    after = the_job(admin, namespace)
    assert (uid(before) == uid(after)) == same_object
    if outcome == "resumed":
        assert not after["spec"]["runPolicy"]["suspend"]
        assert "pytorchjob-launcher/cancelled" not in after["metadata"]["annotations"]
        assert after["metadata"]["annotations"]["pytorchjob-launcher/submission"] == "2"


@pytest.mark.parametrize("standing", ["running", "failed", "succeeded", "cancelled"])
def test_another_run_under_the_same_name_is_refused_with_the_difference(
    jobs: Jobs, actor: ClusterActor, admin: Rest, namespace: str, standing: str
) -> None:
    bring_to(actor, jobs, standing)
    before = the_job(admin, namespace)
    with pytest.raises(InvalidJob) as refused:
        jobs.submit(**DIFFERENT)
    assert "train.batch_size: 64 -> 128" in refused.value.message
    assert "--name" in refused.value.message
    assert the_job(admin, namespace) == before


def test_a_job_that_the_launcher_did_not_make_is_not_touched(jobs: Jobs, admin: Rest, namespace: str) -> None:
    admin.create(reference_job("digits", namespace))
    with pytest.raises(InvalidJob, match=r"did not make(.|\n)*--name"):
        jobs.submit()


def test_a_deleted_job_is_created_again(jobs: Jobs, actor: ClusterActor, admin: Rest, namespace: str) -> None:
    bring_to(actor, jobs, "failed")
    with cluster(actor):
        jobs.backend.delete("digits", grace_seconds=10)
    assert jobs.submit().outcome == "created"
    the_job(admin, namespace)


def test_submitting_into_a_job_that_is_stopping_is_refused(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    actor.rest.patch("PyTorchJob", "digits", actor.namespace, {"spec": {"runPolicy": {"suspend": True}}})
    with pytest.raises(LauncherError, match="launcher wait digits"):
        jobs.submit()


def test_of_concurrent_submits_one_creates_and_the_others_find_it(
    jobs: Jobs, kubeconfig_for: KubeconfigFor, admin: Rest, namespace: str
) -> None:
    several = [jobs, *(Jobs(kubeconfig_for("submitter")) for _ in range(3))]
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda one=one: outcomes.append(one.submit().outcome)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created", "unchanged", "unchanged", "unchanged"]
    the_job(admin, namespace)
