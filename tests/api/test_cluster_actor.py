"""The actor stages what a cluster does, on objects that the real API server, quota and garbage collector handle."""

import threading
import time
from collections.abc import Callable

import pytest

from tests.api.cluster_actor import ClusterActor
from tests.api.fake_kubelet import FakeKubelet
from tests.api.operator_objects import LABELS
from tests.api.reference_job import reference_job
from tests.api.rest import ApiError, Object, Rest


@pytest.fixture
def job(admin: Rest, namespace: str, actor: ClusterActor) -> str:
    """A job of two workers that nobody has looked at yet, and a node."""
    actor.node("node-0")
    admin.create(reference_job("demo", namespace))
    return "demo"


def conditions(job: Object) -> list[tuple[str, str]]:
    return [(one["type"], one["status"]) for one in job["status"]["conditions"]]


def events(admin: Rest, namespace: str) -> list[tuple[str, str, str]]:
    return [(one["involvedObject"]["kind"], one["reason"], one["message"]) for one in admin.list("Event", namespace)]


def state(pod: Object) -> Object:
    found: Object = pod["status"]["containerStatuses"][0]["state"]
    return found


def test_accepting_a_job_makes_a_pod_and_a_service_per_worker(admin: Rest, actor: ClusterActor, job: str) -> None:
    assert actor.accept(job) == ["demo-worker-0", "demo-worker-1"]
    assert conditions(actor.job(job)) == [("Created", "True")]
    assert [pod["metadata"]["labels"].get(f"{LABELS}/job-role") for pod in actor.pods(job)] == ["master", None]
    assert len(admin.list("Service", actor.namespace)) == 2


def test_a_pod_that_the_quota_refuses_becomes_an_event_of_the_job(admin: Rest, actor: ClusterActor) -> None:
    admin.create(reference_job("big", actor.namespace, workers=3, gpus=8))
    assert actor.accept("big") == ["big-worker-0", "big-worker-1"]
    *made, (kind, reason, message) = events(admin, actor.namespace)
    assert [reason for _, reason, _ in made] == ["SuccessfulCreatePod", "SuccessfulCreatePod"]
    assert (kind, reason) == ("PyTorchJob", "FailedCreatePod")
    assert "exceeded quota: training" in message


def test_where_a_pod_is_refused_there_is_neither_a_service_nor_a_status_until_a_later_try(
    admin: Rest, actor: ClusterActor
) -> None:
    admin.create(reference_job("big", actor.namespace, workers=3, gpus=8))
    assert actor.accept("big") == ["big-worker-0", "big-worker-1"]
    assert "status" not in actor.job("big")
    assert admin.list("Service", actor.namespace) == []
    admin.patch("ResourceQuota", "training", actor.namespace, {"spec": {"hard": {"requests.nvidia.com/gpu": "24"}}})
    while not actor.accept("big"):
        time.sleep(0.05)
    assert len(actor.pods("big")) == len(admin.list("Service", actor.namespace)) == 3
    assert conditions(actor.job("big")) == [("Created", "True")]


def test_a_job_runs_and_succeeds(actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.run(job)
    assert conditions(actor.job(job)) == [("Created", "True"), ("Running", "True")]
    actor.succeed(job, '{"accuracy": 0.9}')
    assert conditions(actor.job(job)) == [("Created", "True"), ("Running", "False"), ("Succeeded", "True")]
    first, second = actor.pods(job)
    assert state(first)["terminated"]["message"] == '{"accuracy": 0.9}'
    assert state(second)["terminated"]["exitCode"] == 0


def test_a_worker_fails_with_a_message_and_the_job_with_it(actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.run(job)
    actor.fail(job, 1, 137, "killed", reason="OOMKilled")
    assert conditions(actor.job(job))[-1] == ("Failed", "True")
    first, second = actor.pods(job)
    assert first["status"]["phase"] == "Running"
    assert state(second)["terminated"]["reason"] == "OOMKilled"


def test_a_container_restarts_in_its_pod(actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.run(job)
    actor.restart_in_place(job, 0, 138, "a peer was lost")
    actor.restart_in_place(job, 0, 139)
    container = actor.pods(job)[0]["status"]["containerStatuses"][0]
    assert container["restartCount"] == 2
    assert container["lastState"]["terminated"]["exitCode"] == 139
    assert "running" in container["state"]


def test_an_evicted_worker_has_no_container_status(actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.run(job)
    actor.evict(job, 0, "The node was low on resource: memory.")
    status = actor.pods(job)[0]["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert "containerStatuses" not in status


def test_a_retryable_code_makes_the_pod_again(actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.run(job)
    before = [pod["metadata"]["uid"] for pod in actor.pods(job)]
    actor.fail_pod(job, 1, 138)
    actor.restart_job(job, 1, 138)
    after = [pod["metadata"]["uid"] for pod in actor.pods(job)]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert conditions(actor.job(job)) == [("Created", "True"), ("Restarting", "True")]


def test_a_suspended_job_has_no_pods_and_gets_them_again(admin: Rest, actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.run(job)
    admin.patch("PyTorchJob", job, actor.namespace, {"spec": {"runPolicy": {"suspend": True}}})
    actor.suspend(job)
    assert actor.pods(job) == []
    assert conditions(actor.job(job)) == [("Created", "True"), ("Running", "False"), ("Suspended", "True")]
    admin.patch("PyTorchJob", job, actor.namespace, {"spec": {"runPolicy": {"suspend": False}}})
    actor.resume(job)
    assert len(actor.pods(job)) == 2
    assert conditions(actor.job(job))[-1] == ("Suspended", "False")


def test_pending_pods_say_why(admin: Rest, actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.unschedulable(job, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert actor.pods(job)[0]["status"]["conditions"][0]["reason"] == "Unschedulable"
    actor.waiting(job, 1, "ImagePullBackOff", "Back-off pulling image")
    assert state(actor.pods(job)[1])["waiting"]["reason"] == "ImagePullBackOff"
    told = {(kind, reason) for kind, reason, _ in events(admin, actor.namespace)}
    assert {one for one in told if one[0] == "Pod"} == {("Pod", "FailedScheduling"), ("Pod", "Failed")}
    assert told >= {("PyTorchJob", "Unschedulable"), ("PyTorchJob", "ImagePullBackOff")}


def test_deleting_a_job_in_the_foreground_leaves_nothing(admin: Rest, actor: ClusterActor, job: str) -> None:
    actor.accept(job)
    actor.run(job)
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
    admin.request("DELETE", f"apis/kubeflow.org/v1/namespaces/{actor.namespace}/pytorchjobs/{job}", options)
    _until(lambda: all("deletionTimestamp" in pod["metadata"] for pod in actor.pods(job)))
    actor.finish_deletions()
    _until(lambda: not admin.list("PyTorchJob", actor.namespace))
    assert admin.list("Pod", actor.namespace) == admin.list("Service", actor.namespace) == []


def _until(condition: Callable[[], bool]) -> None:
    """Ask the server again and again; the suite's time limit bounds a condition that never comes."""
    while not condition():
        time.sleep(0.02)


# --- logs ------------------------------------------------------------------------------------------------------------


def logs(rest: Rest, actor: ClusterActor, pod: str = "demo-worker-0", **query: str) -> str:
    return rest.raw("GET", f"api/v1/namespaces/{actor.namespace}/pods/{pod}/log", **query).decode()


@pytest.fixture
def running(actor: ClusterActor, job: str, fake_kubelet: FakeKubelet) -> str:
    actor.accept(job)
    actor.run(job)
    fake_kubelet.write(actor.namespace, "demo-worker-0", "one\ntwo\nthree\n")
    return job


def test_the_api_server_passes_a_log_on(admin: Rest, actor: ClusterActor, running: str) -> None:
    assert logs(admin, actor) == "one\ntwo\nthree\n"
    assert logs(admin, actor, tailLines="1") == "three\n"


def test_a_log_can_be_asked_for_from_a_time_on(admin: Rest, actor: ClusterActor, running: str) -> None:
    stamped = logs(admin, actor, timestamps="true").splitlines()
    second = stamped[1].split(" ")[0]
    assert logs(admin, actor, sinceTime=second) == "two\nthree\n"


def test_a_followed_log_grows_until_the_container_ends(
    admin: Rest, actor: ClusterActor, fake_kubelet: FakeKubelet, running: str
) -> None:
    answers: list[str] = []
    reader = threading.Thread(target=lambda: answers.append(logs(admin, actor, follow="true")))
    reader.start()
    fake_kubelet.write(actor.namespace, "demo-worker-0", "four\n")
    fake_kubelet.end(actor.namespace, "demo-worker-0")
    reader.join()
    assert answers == ["one\ntwo\nthree\nfour\n"]


def test_the_log_before_a_restart_is_kept_apart(
    admin: Rest, actor: ClusterActor, fake_kubelet: FakeKubelet, running: str
) -> None:
    with pytest.raises(ApiError, match="previous terminated container"):
        logs(admin, actor, previous="true")
    fake_kubelet.write(actor.namespace, "demo-worker-0", "before\n", previous=True)
    assert logs(admin, actor, previous="true") == "before\n"


def test_a_container_that_waits_has_no_log(admin: Rest, actor: ClusterActor, running: str) -> None:
    with pytest.raises(ApiError, match="waiting to start") as refusal:
        logs(admin, actor, pod="demo-worker-1")
    assert refusal.value.status == 400
