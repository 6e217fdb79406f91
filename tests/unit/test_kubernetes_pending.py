"""Why a job does not run yet, from its pods and events, and what to do about it."""

from datetime import UTC, datetime, timedelta

import pytest

from launcher.backends.kubernetes.advice import advice
from launcher.backends.kubernetes.kinds import Object
from launcher.backends.kubernetes.pending import why_pending
from launcher.backends.kubernetes.record import Job

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
REFUSED = 'FailedCreatePod: Error creating: pods "job-worker-0" is forbidden: exceeded quota: training'


def job() -> Job:
    container = {"name": "pytorch", "resources": {"limits": {"nvidia.com/gpu": "16"}}}
    workers = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
    metadata = {"name": "job", "namespace": "team", "uid": "this", "creationTimestamp": NOW.isoformat()}
    return Job({"metadata": metadata, "spec": {"pytorchReplicaSpecs": {"Worker": workers}}})


def event(reason: str, seconds: int, *, uid: str = "this", message: str = "m") -> Object:
    time = (NOW + timedelta(seconds=seconds)).isoformat()
    return {"reason": reason, "message": message, "lastTimestamp": time, "involvedObject": {"uid": uid}}


def pods(count: int) -> list[Object]:
    return [{"metadata": {"name": f"job-worker-{index}"}, "status": {"phase": "Running"}} for index in range(count)]


@pytest.mark.parametrize(
    ("pods", "events", "reason"),
    [
        (pods(0), [event("FailedCreatePod", 5)], "2 of 2 pods are missing: FailedCreatePod: m"),
        (pods(1), [event("SuccessfulCreatePod", 5), event("FailedCreatePod", 5)],
         "1 of 2 pods are missing: FailedCreatePod: m"),
        (None, [event("FailedCreatePod", 5)], "FailedCreatePod: m"),
        (pods(1), [event("FailedCreatePod", 5), event("SuccessfulCreatePod", 6)], "starting"),
        (pods(2), [event("FailedCreatePod", 5)], "starting"),
        (pods(2), [event("SuccessfulCreatePod", 5), event("FailedCreateService", 6)], "FailedCreateService: m"),
        (pods(0), [event("FailedCreatePod", 5, uid="another")],
         "the training operator has not noticed it: is it running?"),
        (pods(0), None, "no pod yet"),
    ],
)  # fmt: skip
def test_why_a_job_waits(pods: list[Object] | None, events: list[Object] | None, reason: str) -> None:
    assert why_pending(job(), pods, events, NOW + timedelta(minutes=1)) == reason


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (REFUSED, "ask an administrator for more quota\nthe operator tries again by itself"),
        (REFUSED, "`launcher suspend job`, then `launcher resume job` make it try at once"),
        ('FailedCreatePod: pods "x" is forbidden: violates PodSecurity "restricted:latest": m', "Pod Security level"),
        ("FailedCreatePod: admission webhook denied the request", "change what the message names"),
        ('Unschedulable: 0/1 nodes are available: persistentvolumeclaim "data" not found. not found',
         "create the claim data, and the job goes on by itself (`kubectl get pvc -n team`"),
        ("Unschedulable: 0/9 nodes are available: 1 Insufficient cpu, 8 Insufficient nvidia.com/gpu. preemption: none",
         "each pod asks for cpu and 16 nvidia.com/gpu: the job starts by itself once a node has that free"),
        ("Unschedulable: 0/9 nodes are available: 9 Insufficient memory.", "submit it again with less `resources`"),
        ("Unschedulable: 0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.", "`tolerations`"),
        ('ImagePullBackOff: Back-off pulling image "x"', "check `image`"),
        ('CreateContainerConfigError: secret "token" not found', "create what the message names"),
        ("FailedMount: m", "`kubectl describe pods -n team -l training.kubeflow.org/job-name=job`"),
    ],
)  # fmt: skip
def test_each_reason_has_a_next_step(reason: str, words: str) -> None:
    assert words in advice(reason, job())


def test_words_of_the_server_are_no_format_strings() -> None:
    assert "create the claim {0}," in advice('Unschedulable: persistentvolumeclaim "{0}" not found', job())
