"""What `status`, `list` and `wait` say of jobs on a real API server, read as the submitter."""

import json
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from launcher.backends.base import JobStatus, Progress, State
from launcher.backends.kubernetes.record import Job
from launcher.backends.kubernetes.status import Facts, judge
from launcher.errors import JobNotFound
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.fake_kubelet import FakeKubelet
from tests.api.jobs import Jobs, bring_to, cluster, eventually
from tests.api.reference_job import reference_job
from tests.api.rest import Object

PROGRESS: dict[str, Any] = {"step": 5, "steps": 50, "epoch": 1, "epochs": 2, "loss": 0.5, "samples_per_second": 9.0}


@pytest.fixture
def jobs(kubeconfig_for: KubeconfigFor) -> Jobs:
    return Jobs(kubeconfig_for("submitter"))


def end(code: int, cause: str, **more: object) -> str:
    """A termination message as the trainer writes it."""
    return json.dumps({"code": code, "cause": cause, "rank": None, "exception": None, "lines": [], **more})


@pytest.mark.parametrize(
    ("standing", "state", "attempt", "exit_code"),
    [
        ("created", State.PENDING, 0, None),
        ("running", State.RUNNING, 1, None),
        ("failed", State.FAILED, 1, 3),
        ("succeeded", State.SUCCEEDED, 1, 0),
        ("suspended", State.SUSPENDED, 1, None),
        ("cancelled", State.CANCELLED, 1, None),
    ],
)
def test_the_state_of_a_job(
    jobs: Jobs, actor: ClusterActor, standing: str, state: State, attempt: int, exit_code: int | None
) -> None:
    bring_to(actor, jobs, standing)
    status = jobs.get()
    assert (status.state, status.exit_code, status.attempt) == (state, exit_code, attempt)
    assert (status.ended is not None) == state.is_over


def test_a_job_that_was_resumed_runs_although_its_newest_condition_is_suspended_false(
    jobs: Jobs, actor: ClusterActor
) -> None:
    bring_to(actor, jobs, "suspended")
    with cluster(actor):
        jobs.backend.resume("digits")
        eventually(lambda: len(actor.pods("digits")) == 2)
    assert jobs.get().state is State.PENDING
    actor.run("digits")
    actor.condition("digits", "Suspended", "", status="False", reason="PyTorchJobResumed")
    assert jobs.get().state is State.RUNNING


def test_the_earliest_end_that_is_no_consequence_is_the_cause(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    actor.fail_pod("digits", 0, 138, end(138, "lost rank 1", rank=0))
    said = end(6, "device out of memory", rank=1, exception="OutOfMemoryError", lines=["last words"])
    actor.fail("digits", 1, 6, said)
    status = jobs.get()
    assert status.exit_code == 6
    assert status.reason == "device out of memory (rank 1, OutOfMemoryError)"
    assert status.failure is not None
    assert (status.failure.rank, status.failure.lines) == (1, ("last words",))


def test_a_container_killed_for_memory_is_told_with_its_limit(jobs: Jobs, actor: ClusterActor) -> None:
    jobs.submit(resources={"memory": "3Gi", "shm": "1Gi"})
    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.run("digits")
    actor.fail("digits", 0, 137, reason="OOMKilled")
    status = jobs.get()
    assert status.exit_code == 137
    assert "out of memory: the pod's limit is 3Gi" in status.reason


def test_an_evicted_pod_without_a_container_status_is_no_success(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    actor.evict("digits", 0, "the node was low on resource: memory")
    actor.fail("digits", 1, 138, end(138, "lost rank 0"))
    status = jobs.get()
    assert status.state is State.FAILED
    assert status.reason.startswith("Evicted: the node was low on resource: memory")


def test_a_deadline_is_told_in_the_operators_words_when_the_pods_are_gone(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    actor.deadline("digits")
    assert "active longer than specified deadline" in jobs.get().reason


def test_pods_that_no_node_can_take_say_why(jobs: Jobs, actor: ClusterActor) -> None:
    jobs.submit()
    actor.accept("digits")
    actor.unschedulable("digits", "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    reason = jobs.get().reason
    assert reason.startswith("2 of 2 pods wait: Unschedulable: 0/1 nodes are available")


def test_an_image_that_cannot_be_pulled_says_so(jobs: Jobs, actor: ClusterActor) -> None:
    jobs.submit(pods=1)
    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.waiting("digits", 0, "ErrImagePull", "registry.example: not found")
    status = jobs.get()
    assert status.reason == "ErrImagePull: registry.example: not found"
    assert "check `image`" in status.advice


@pytest.mark.parametrize(("allowed", "missing"), [(0, 2), (1, 1)])
def test_pods_that_the_namespace_refuses_say_what_it_refuses_until_they_are_made(
    jobs: Jobs, actor: ClusterActor, allowed: int, missing: int
) -> None:
    jobs.submit(pods=2)
    allow_pods(actor, allowed)
    assert len(actor.accept("digits")) == allowed
    status = jobs.get()
    assert status.reason.startswith(f"{missing} of 2 pods are missing: FailedCreatePod: Error creating: pods")
    assert "exceeded quota: training" in status.reason
    assert "`launcher resume digits` make it try at once" in status.advice
    allow_pods(actor, 2)
    assert len(actor.accept("digits")) == missing
    assert (jobs.get().reason, jobs.get().advice) == ("starting", "")


def allow_pods(actor: ClusterActor, count: int) -> None:
    actor.rest.patch("ResourceQuota", "training", actor.namespace, {"spec": {"hard": {"pods": str(count)}}})
    eventually(lambda: quota(actor)["status"]["hard"]["pods"] == str(count))


def quota(actor: ClusterActor) -> Object:
    return actor.rest.get("ResourceQuota", "training", actor.namespace)


def test_a_restart_in_place_counts_as_an_attempt(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    actor.restart_in_place("digits", 1, 139, end(139, "crashed", attempt=4))
    status = jobs.get()
    assert (status.state, status.attempt) == (State.RUNNING, 5)


def test_progress_comes_from_the_log_of_the_first_pod(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet
) -> None:
    bring_to(actor, jobs, "running")
    lines = ["@progress not json", "noise", f"@progress {json.dumps(PROGRESS)}", "more noise"]
    fake_kubelet.write(actor.namespace, "digits-worker-0", "\n".join(lines) + "\n")
    assert jobs.get().progress == Progress(**PROGRESS, eta_seconds=None)


def test_ranks_that_started_again_inside_their_pod_count_as_an_attempt(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet
) -> None:
    bring_to(actor, jobs, "running")
    line = f"@progress {json.dumps({**PROGRESS, 'attempt': 3})}\n"
    fake_kubelet.write(actor.namespace, "digits-worker-0", line)
    assert jobs.get().attempt == 3


def test_a_job_that_nobody_takes_up_says_that_the_operator_may_be_missing(jobs: Jobs, actor: ClusterActor) -> None:
    jobs.submit()
    job = Job(actor.job("digits"))
    soon, later = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (1, 60))
    assert judge(Facts(job=job, pods=(), events=(), now=soon)).reason == "starting"
    verdict = judge(Facts(job=job, pods=(), events=(), now=later))
    assert "training operator" in verdict.reason
    assert "ask an administrator" in verdict.advice
    assert judge(Facts(job=job, pods=(), events=None, now=later)).reason == "no pod yet"


def test_list_shows_the_launchers_jobs_newest_first(jobs: Jobs, actor: ClusterActor) -> None:
    actor.rest.create(reference_job("foreign", actor.namespace))
    bring_to(actor, jobs, "running")
    jobs.submit(name="other")
    assert {(one.name, one.state) for one in jobs.backend.list()} == {
        ("digits", State.RUNNING),
        ("other", State.PENDING),
    }


def test_an_unknown_name_is_answered_by_those_there_are(jobs: Jobs) -> None:
    jobs.submit()
    with pytest.raises(JobNotFound, match="jobs there: digits"):
        jobs.get("digit")


def test_a_watch_tells_each_change_once_and_ends_with_the_end(jobs: Jobs, actor: ClusterActor) -> None:
    jobs.submit()
    seen: list[JobStatus] = []
    thread = threading.Thread(target=lambda: seen.extend(jobs.backend.watch("digits")))
    thread.start()
    eventually(lambda: seen)
    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.run("digits")
    eventually(lambda: seen[-1].state is State.RUNNING)
    actor.succeed("digits")
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert all(before != after for before, after in pairwise(seen))
    assert [status.state for status in seen].count(State.SUCCEEDED) == 1
    assert seen[-1].state is State.SUCCEEDED


def test_a_watch_of_a_job_that_is_deleted_ends_with_an_error(jobs: Jobs, actor: ClusterActor) -> None:
    jobs.submit()
    statuses = jobs.backend.watch("digits")
    assert next(statuses).state is State.PENDING
    jobs.backend.delete("digits", grace_seconds=10)
    with pytest.raises(JobNotFound, match="deleted while it was watched"):
        list(statuses)


@pytest.mark.parametrize("name", ["../pods/x", "..", "a/b", "a?b=c", "", "UPPER", "x" * 64])
def test_a_name_that_no_job_can_have_is_not_asked_for(jobs: Jobs, name: str) -> None:
    with pytest.raises(JobNotFound):
        jobs.get(name)
    with pytest.raises(JobNotFound):
        jobs.backend.delete(name, grace_seconds=0)
