"""Cancel, suspend, resume and delete on a real API server, as the submitter."""

import pytest

from launcher.backends.base import State
from launcher.errors import JobNotFound, LauncherError, TimedOut
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.jobs import Jobs, bring_to, cluster, eventually
from tests.api.rest import Object, Rest


@pytest.fixture
def jobs(kubeconfig_for: KubeconfigFor) -> Jobs:
    return Jobs(kubeconfig_for("submitter"))


def annotations(actor: ClusterActor) -> dict[str, str]:
    found: dict[str, str] = actor.job("digits")["metadata"]["annotations"]
    return found


def test_cancel_suspends_and_marks(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "cancelled")
    assert actor.job("digits")["spec"]["runPolicy"]["suspend"] is True
    assert "pytorchjob-launcher/cancelled" in annotations(actor)


def test_suspend_does_not_mark(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "suspended")
    assert "pytorchjob-launcher/cancelled" not in annotations(actor)


def test_a_job_whose_pods_still_save_is_running_and_stopping(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    actor.rest.patch("PyTorchJob", "digits", actor.namespace, {"spec": {"runPolicy": {"suspend": True}}})
    actor.condition("digits", "Suspended", "PyTorchJob digits is suspended.")
    status = jobs.get()
    assert (status.state, status.reason) == (State.RUNNING, "stopping: saving a checkpoint")
    assert not status.state.is_over


@pytest.mark.parametrize("standing", ["failed", "succeeded"])
def test_a_job_that_is_over_is_not_stopped(jobs: Jobs, actor: ClusterActor, standing: str) -> None:
    bring_to(actor, jobs, standing)
    before = actor.job("digits")
    assert jobs.backend.cancel("digits", grace_seconds=0).state == State(standing.capitalize())
    assert actor.job("digits") == before


@pytest.mark.parametrize("standing", ["suspended", "cancelled"])
def test_resume_lets_the_same_job_run_again(jobs: Jobs, actor: ClusterActor, standing: str) -> None:
    bring_to(actor, jobs, standing)
    before = actor.job("digits")["metadata"]["uid"]
    with cluster(actor):
        assert jobs.backend.resume("digits").outcome == "resumed"
    assert actor.job("digits")["metadata"]["uid"] == before
    assert "pytorchjob-launcher/cancelled" not in annotations(actor)
    assert jobs.get().state is State.PENDING


def test_resume_of_a_job_that_runs_changes_nothing(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    assert jobs.backend.resume("digits").outcome == "unchanged"


def test_resume_of_a_failed_job_says_to_submit_its_file(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "failed")
    with pytest.raises(LauncherError, match="submit its file again"):
        jobs.backend.resume("digits")


def test_a_queued_job_waits_and_is_not_suspended_against_its_queue(jobs: Jobs, actor: ClusterActor) -> None:
    jobs.submit(queue="team")
    actor.rest.patch("PyTorchJob", "digits", actor.namespace, {"spec": {"runPolicy": {"suspend": True}}})
    actor.condition("digits", "Suspended", "PyTorchJob digits is suspended.")
    status = jobs.get()
    assert (status.state, status.reason) == (State.PENDING, "waits in queue team")
    assert jobs.submit(queue="team").outcome == "unchanged"
    with pytest.raises(LauncherError, match=r"queue team(.|\n)*launcher delete digits"):
        jobs.backend.cancel("digits", grace_seconds=0)


def left_of_the_job(admin: Rest, namespace: str) -> list[Object]:
    kinds = ("PyTorchJob", "Pod", "Service", "ConfigMap", "NetworkPolicy")
    found = [obj for kind in kinds for obj in admin.list(kind, namespace)]
    return [obj for obj in found if obj["metadata"]["name"].startswith("digits")]


@pytest.mark.parametrize("standing", ["created", "running", "failed", "succeeded", "cancelled"])
def test_after_delete_nothing_of_the_job_is_left(
    jobs: Jobs, actor: ClusterActor, admin: Rest, namespace: str, standing: str
) -> None:
    bring_to(actor, jobs, standing)
    with cluster(actor):
        assert jobs.backend.delete("digits", grace_seconds=20) == f"pvc/results/{namespace}/digits"
    assert left_of_the_job(admin, namespace) == []
    with pytest.raises(JobNotFound):
        jobs.get()


def test_delete_of_a_job_whose_pod_does_not_end_says_so(
    jobs: Jobs, actor: ClusterActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to(actor, jobs, "running")
    monkeypatch.setattr("launcher.backends.kubernetes.backend.CLUSTER_SECONDS", 0.5)
    with pytest.raises(TimedOut, match="one of its pods does not end"):
        jobs.backend.delete("digits", grace_seconds=0)
    assert jobs.get().reason == "being deleted"


def test_objects_that_an_option_adds_go_away_with_the_job(
    kubeconfig_for: KubeconfigFor, actor: ClusterActor, admin: Rest, namespace: str
) -> None:
    jobs = Jobs(kubeconfig_for("admin"))
    jobs.submit(isolated_network=True)
    (job,) = admin.list("PyTorchJob", namespace)
    assert job["spec"]["runPolicy"]["suspend"] is False
    assert any(policy["metadata"]["name"] == "digits" for policy in admin.list("NetworkPolicy", namespace))
    with cluster(actor):
        jobs.backend.delete("digits", grace_seconds=20)
    eventually(lambda: left_of_the_job(admin, namespace) == [])


def test_a_claim_that_the_job_brought_is_kept(
    kubeconfig_for: KubeconfigFor, admin: Rest, namespace: str, actor: ClusterActor
) -> None:
    jobs = Jobs(kubeconfig_for("admin"))
    claim = {"claim": "own", "create": {"size": "1Gi"}}
    jobs.submit(results=claim)
    jobs.backend.delete("digits", grace_seconds=20)
    assert not admin.get("PersistentVolumeClaim", "own", namespace)["metadata"].get("ownerReferences")
    assert jobs.submit(results=claim).outcome == "created"
    assert any("the claim own exists" in line for line in jobs.said)
