"""A job that waits says why in the cluster's words, and what to do, within ten seconds; then it goes on by itself."""

import json
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from tests.cluster.jobs import Jobs

SOON = 10.0
CPU: dict[str, Any] = {"gpus": 0, "processes": 1}
TWO_PODS: dict[str, Any] = {"gpus": 2, "nodes": [{"count": 2, "gpus": 1}], "train": {"batch_size": 60}}
RETRY = "`launcher suspend job`, then `launcher resume job` make it try at once"
ABSENT = "registry.example/no/such:image"


@dataclass(frozen=True)
class Case:
    """A job that waits, the event that says why, and the words that say what to do."""

    job: dict[str, Any]
    event: str
    """A pattern of the event's message."""
    advice: str
    arguments: tuple[str, ...] = ()
    gpus_held: int = 0
    """GPUs of the quota that another job has already; they need not exist."""
    missing: list[str] = field(default_factory=list)
    """The pods that there will not be."""


CASES = {
    "16 GPUs of 8": Case({"gpus": 16}, "Insufficient nvidia.com/gpu", "each pod asks for 16 nvidia.com/gpu"),
    "a wrong image": Case(CPU, f"Failed to pull image .*{ABSENT}: not found", "check `image`", ("--image", ABSENT)),
    "over quota": Case(
        {"gpus": 1}, 'pods "job-worker-0" is forbidden: exceeded quota: training', RETRY,
        gpus_held=16, missing=["job-worker-0"],
    ),
    "the second pod over quota": Case(
        TWO_PODS, 'pods "job-worker-1" is forbidden: exceeded quota: training', RETRY,
        gpus_held=15, missing=["job-worker-1"],
    ),
    "no claim for results": Case(
        {**CPU, "results": {"claim": "nowhere"}},
        'persistentvolumeclaim "nowhere" not found', "create the claim nowhere",
    ),
    "no claim for data": Case(
        {**CPU, "volumes": [{"name": "data", "claim": "nothing", "mount": "/data"}]},
        'persistentvolumeclaim "nothing" not found', "create the claim nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_status_and_submit_wait_say_the_events_text_and_the_next_step_soon(name: str, jobs: Jobs) -> None:
    case = CASES[name]
    hold_gpus(jobs, case.gpus_held)
    path = jobs.write("job", **case.job)
    waiter = Waiter(jobs, "submit", path, *case.arguments, "--wait")
    event = the_event(jobs, case.event)
    assert_status_says(jobs, event, case.advice)
    waiter.listen_for(words_of(event), case.advice, until=first_seen(event) + SOON)
    assert waiter.detach() == 130
    assert {pod["metadata"]["name"] for pod in jobs.pods("job")}.isdisjoint(case.missing)


def test_a_pod_that_pod_security_refuses_is_told_with_the_servers_words(jobs: Jobs) -> None:
    rendered = jobs.launcher("render", jobs.write("job", **CPU), "-n", jobs.team.namespace)
    (job,) = yaml.safe_load_all(rendered.stdout)
    job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["hostNetwork"] = True
    jobs.team.submitter("create", "--filename=-", stdin=json.dumps(job))
    event = the_event(jobs, 'violates PodSecurity "restricted:latest": host namespaces')
    assert_status_says(jobs, event, "remove what the message names")
    waited = jobs.launcher("wait", "job", "--timeout", "3s")
    assert waited.returncode == 124
    assert event["message"] in waited.stderr
    assert RETRY in waited.stderr


def test_a_job_that_a_quota_could_never_hold_is_refused_at_submit(jobs: Jobs) -> None:
    done = jobs.launcher("submit", jobs.write("job", gpus=17), "--wait")
    assert done.returncode == 5, done.stderr
    assert "allows 16 of requests.nvidia.com/gpu, and the job asks for 17" in done.stderr
    assert jobs.launcher("status", "job").returncode == 4


def test_following_says_it_too_and_cancelling_ends_the_wait(jobs: Jobs) -> None:
    hold_gpus(jobs, 16)
    follower = Waiter(jobs, "submit", jobs.write("job", gpus=1), "--follow")
    event = the_event(jobs, "exceeded quota")
    follower.listen_for(words_of(event), RETRY, until=first_seen(event) + SOON)
    assert jobs.launcher("cancel", "job").returncode == 0
    assert follower.wait() == 7


def test_a_job_whose_second_pod_was_refused_goes_on_by_itself_once_there_is_quota(jobs: Jobs) -> None:
    hold_gpus(jobs, 15)
    jobs.submit("job", **TWO_PODS)
    the_event(jobs, 'pods "job-worker-1" is forbidden: exceeded quota')
    assert not jobs.team.admin.items("get", "services", "--selector=training.kubeflow.org/job-name=job")
    first = jobs.pod_uids("job")
    jobs.team.admin("delete", "pytorchjob", "holder")
    assert jobs.wait_for_end("job") == "Succeeded", jobs.describe("job")
    assert first.items() <= jobs.pod_uids("job").items(), "the first pod was made again"


def test_suspend_and_resume_make_the_operator_try_at_once_after_many_refusals(jobs: Jobs) -> None:
    hold_gpus(jobs, 16)
    jobs.submit("job", gpus=1)
    # Its twelfth pause is 5 ms * 2^11 = 10 s.
    jobs.wait_until(lambda: the_event(jobs, "exceeded quota").get("count", 0) >= 12, name="job")
    jobs.team.admin("delete", "pytorchjob", "holder")
    for verb in ("suspend", "resume"):
        assert jobs.launcher(verb, "job").returncode == 0
    jobs.wait_until(lambda: jobs.pods("job"), name="job", seconds=5)


@pytest.mark.parametrize("name", ["no claim for results", "no claim for data"])
def test_a_job_goes_on_by_itself_once_its_claim_exists(name: str, jobs: Jobs) -> None:
    case = CASES[name]
    jobs.submit("job", **case.job)
    the_event(jobs, case.event)
    jobs.team.create_claim("nowhere" if "results" in case.job else "nothing")
    assert jobs.wait_for_end("job") == "Succeeded", jobs.describe("job")
    assert jobs.status("job")["advice"] == ""


class Waiter:
    """A command in the background, and when it said what."""

    def __init__(self, jobs: Jobs, *arguments: str) -> None:
        self._process = jobs.start_launcher(*arguments)
        self.heard: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        with self._process:
            assert self._process.stderr
            for line in self._process.stderr:
                self.heard.append((time.time(), line))

    def listen_for(self, *words: str, until: float) -> None:
        """Wait until it has said all of them; the last of them must have come by ``until``."""
        missing = set(words)
        while missing:
            missing -= {said for said in missing for when, line in self.heard if said in line and when < until}
            assert not missing or time.time() < until, (missing, self.heard)
            time.sleep(0.05)

    def detach(self) -> int:
        """Press Ctrl-C; its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Its exit code."""
        self._thread.join(timeout=60)
        return self._process.wait(timeout=0)


def hold_gpus(jobs: Jobs, count: int) -> None:
    """Let another job have so much of the quota; its pod is larger than any node, so it takes nothing else."""
    if count:
        jobs.submit("holder", gpus=count, nodes=[{"count": 1, "gpus": count}])
        jobs.wait_until(lambda: jobs.pods("holder"), name="holder")


def the_event(jobs: Jobs, pattern: str) -> dict[str, Any]:
    """The first event about the job or its pods whose message matches, as soon as there is one.

    What the operator repeats on the job of what pods say on their own is none.
    """
    found: list[dict[str, Any]] = []

    def look() -> bool:
        events = jobs.team.submitter.items("get", "events", "--field-selector=type=Warning")
        ours = [event for event in events if event["involvedObject"]["name"] in ("job", "job-worker-0")]
        found[:] = [event for event in ours if re.search(f"^(?!Error pod ).*{pattern}", event["message"])]
        return bool(found)

    jobs.wait_until(look, name="job")
    return min(found, key=first_seen)


def first_seen(event: dict[str, Any]) -> float:
    """Its own time: whole seconds where it is one of the older API."""
    text = event["eventTime"] or event["firstTimestamp"]
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def words_of(event: dict[str, Any]) -> str:
    """Its text; of a pull what the registry said, since the status has it without the kubelet's introduction."""
    return str(event["message"]).removeprefix(f'Failed to pull image "{ABSENT}": ')


def assert_status_says(jobs: Jobs, event: dict[str, Any], advice: str) -> None:
    while True:
        shown = jobs.launcher("status", "job").stderr
        late = time.time() - first_seen(event)
        if words_of(event) in shown and advice in shown:
            assert late < SOON
            return
        assert late < SOON, shown
