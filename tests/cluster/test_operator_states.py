"""What the training operator does when pods end, and when a job is suspended, resumed, or out of time or patience."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.base import Cluster
from tests.cluster.raw_jobs import LABELS, SLEEP, Object, Seen, job, namespace, on_worker, replica, uid

ELASTIC = {"minReplicas": 1, "maxReplicas": 2, "rdzvBackend": "c10d", "rdzvId": "any"}
# Asked once: the second run of the container sleeps.
ONCE = f"if [ -e /tmp/ran ]; then {SLEEP}; fi; touch /tmp/ran; exit 138"
UNTIL_TOLD = "while [ ! -e /tmp/end ]; do sleep 0.2; done; exit 0"
TMP: Object = {"volumes": [{"name": "tmp", "emptyDir": {}}]}
MOUNTED: Object = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
# Bound to a node that does not exist: nobody runs these pods, and nobody confirms that they have ended.
NO_NODE = {"nodeName": "no-such-node"}
# A few seconds, on a machine that has nothing else to do.
SOON_SECONDS = 60
SLOW_SECONDS = 90
MANY_PODS = 7


@pytest.fixture(scope="module")
def seen(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """All jobs of this module, created at once."""
    jobs = (
        job("all", replica(on_worker(0, "exit 0", others=UNTIL_TOLD), 2)),
        job("any", replica(on_worker(1, "exit 0"), 2), elasticPolicy=ELASTIC),
        job("final", replica(on_worker(1, "sleep 2; echo the reason; exit 3"), 2)),
        job("final-ttl", replica("exit 3"), policy={"ttlSecondsAfterFinished": 1}),
        job("retried", replica(on_worker(1, "echo the reason; exit 200"), 2), policy={"backoffLimit": 1}),
        job("quiet", replica(SLEEP)),
        job("late", replica(on_worker(0, "echo kept; exit 0"), 3)),
        job("patience", replica(ONCE, 2, rules=True, pod=TMP, **MOUNTED), policy={"backoffLimit": 2}),
        job("suspended", replica(on_worker(0, "exit 0"), 2), policy={"cleanPodPolicy": "None"}),
    )
    with namespace(cluster, "operator-does", tmp_path_factory.mktemp("states"), jobs) as seen:
        yield seen


def test_a_final_code_fails_the_job_and_the_other_pods_are_gone_within_seconds(seen: Seen) -> None:
    failed = seen.until_is("final", "Failed")
    seen.until(lambda: set(seen.pods("final")) == {"worker-1"}, "the other pod is gone", seconds=SOON_SECONDS)
    assert failed["message"] == 'job "final" is failing because "Worker" replica(s) failed.'
    ended = seen.pod("final-worker-1")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (3, "the reason\n")
    seconds = _moment(failed["lastTransitionTime"]) - _moment(ended["finishedAt"])
    assert seconds.total_seconds() < SOON_SECONDS


def test_a_retryable_code_replaces_the_pod_at_once_and_again_whatever_the_backoff_limit(seen: Seen) -> None:
    uids: set[str | None] = set()

    def pods() -> int:
        uids.add(_uid(seen, "retried", "worker-1"))
        return len(uids - {None})

    seen.until(lambda: pods() > MANY_PODS, "many pods were made", seconds=SLOW_SECONDS)
    assert seen.condition("retried", "Failed") is None
    told = sum(one["count"] for one in _events(seen, "retried", "SuccessfulDeletePod"))
    assert told < MANY_PODS, "the operator's events are limited to 25 a job, and then one in five minutes"
    restarting = _events(seen, "retried", "PyTorchJobRestarting")
    assert {one["message"] for one in restarting} == {
        "job retried is restarting because Worker replica(s) failed.",
        "PyTorchJob retried is restarting because 1 Worker replica(s) failed.",
    }
    seen.kubectl("delete", "pytorchjob", "retried", "--wait=false")


def test_of_a_replaced_pod_only_events_of_the_job_tell_code_and_message(seen: Seen) -> None:
    exits = seen.until(lambda: _events(seen, "retried", "ExitedWithCode"), "an event with the code")
    assert exits[0]["message"].endswith("retried-worker-1 exited with code 200")
    assert exits[0]["type"] == "Normal"
    told = seen.until(lambda: _events(seen, "retried", "Error"), "an event with the message")
    assert "exitCode: 200 terminated message: the reason" in told[0]["message"]


def test_a_job_of_a_fixed_size_succeeds_only_when_all_workers_have(seen: Seen) -> None:
    seen.until(lambda: _phases(seen, "all") == ["Running", "Succeeded"], "worker 0 is done, worker 1 is not")
    assert seen.condition("all", "Succeeded") is None
    seen.kubectl("exec", "all-worker-1", "--", "touch", "/tmp/end")
    seen.until_is("all", "Succeeded")
    assert _phases(seen, "all") == ["Succeeded", "Succeeded"]


def test_an_elastic_job_succeeds_when_any_worker_has_and_the_others_are_deleted(seen: Seen) -> None:
    seen.until_is("any", "Succeeded")
    seen.until(lambda: set(seen.pods("any")) == {"worker-1"}, "worker 0 is gone")
    assert _events(seen, "any", "SuccessfulDeletePod")[0]["message"] == "Deleted pod: any-worker-0"


def test_a_final_code_leaves_no_completion_time_and_no_time_to_live(seen: Seen) -> None:
    failed = seen.until_is("final-ttl", "Failed")
    seen.until(lambda: (_now() - _moment(failed["lastTransitionTime"])).seconds > 5, "its time to live is over")
    assert "completionTime" not in seen.job("final-ttl")["status"]


def test_a_deadline_passes_unnoticed_until_something_happens_to_the_job(seen: Seen) -> None:
    seen.until_running("quiet", 1)
    seen.until_is("quiet", "Running")
    age = (_now() - _moment(seen.job("quiet")["status"]["startTime"])).seconds
    _change(
        seen, "quiet", activeDeadlineSeconds=age + 10
    )  # a queue of other jobs can make its own update wait for seconds
    time.sleep(16)
    assert seen.condition("quiet", "Failed") is None
    seen.kubectl("annotate", "pytorchjob", "quiet", "touched=yes")
    failed = seen.until_is("quiet", "Failed", seconds=SOON_SECONDS)
    assert failed["message"] == "Job quiet has failed because it was active longer than specified deadline"


def test_a_job_out_of_time_keeps_the_pods_that_had_ended(seen: Seen) -> None:
    seen.until(lambda: _phases(seen, "late") == ["Running", "Running", "Succeeded"], "worker 0 is done")
    _change(seen, "late", activeDeadlineSeconds=1)
    seen.until_is("late", "Failed")
    assert "completionTime" in seen.job("late")["status"]
    seen.until(lambda: set(seen.pods("late")) == {"worker-0"}, "the running pods are gone")
    assert seen.log("late-worker-0") == "kept\n"


def test_restarts_in_place_of_all_running_pods_count_toward_the_backoff_limit(seen: Seen) -> None:
    failed = seen.until_is("patience", "Failed")
    assert failed["message"] == "Job patience has failed because it has reached the specified backoff limit"
    seen.until(lambda: not seen.pods("patience"), "the running pods are gone")


def test_suspending_deletes_all_pods_even_those_that_ended_and_resuming_starts_the_clock_anew(seen: Seen) -> None:
    seen.until(lambda: _phases(seen, "suspended") == ["Running", "Succeeded"], "worker 0 is done")
    started = seen.job("suspended")["status"]["startTime"]
    _change(seen, "suspended", suspend=True)
    seen.until_is("suspended", "Suspended")
    seen.until(lambda: not seen.pods("suspended"), "all pods are gone")
    assert _types(seen, "suspended") == [("Created", "True"), ("Running", "False"), ("Suspended", "True")]
    assert seen.job("suspended")["status"]["startTime"] == started
    _change(seen, "suspended", suspend=False)
    seen.until_is("suspended", "Running")
    assert _types(seen, "suspended") == [("Created", "True"), ("Suspended", "False"), ("Running", "True")]
    assert seen.conditions("suspended")[1]["reason"] == "PyTorchJobResumed"
    assert seen.job("suspended")["status"]["startTime"] > started


def test_a_pod_that_failed_without_a_containers_status_is_replaced(seen: Seen) -> None:
    with _without_a_node(seen, "evicted") as before:
        evicted = {"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}}
        seen.kubectl("patch", "pod", "evicted-worker-0", "--subresource=status", f"--patch={json.dumps(evicted)}")
        seen.until(lambda: _uid(seen, "evicted", "worker-0") not in (None, uid(before)), "worker 0 is made again")
        assert seen.condition("evicted", "Failed") is None


def test_a_pod_that_no_node_confirms_to_have_ended_holds_back_its_replacement(seen: Seen) -> None:
    with _without_a_node(seen, "lost") as before:
        seen.kubectl("delete", "pod", "lost-worker-0", "--wait=false")
        time.sleep(5)
        pod = seen.pods("lost")["worker-0"]
        assert uid(pod) == uid(before)
        assert "deletionTimestamp" in pod["metadata"]


@contextmanager
def _without_a_node(seen: Seen, name: str) -> Iterator[Object]:
    """The pod of a job whose node does not exist; after half a minute the control plane would remove such pods."""
    seen.create(job(name, replica("true", pod=NO_NODE)))
    yield seen.until(lambda: seen.pods(name).get("worker-0"), "worker 0 is there")
    seen.kubectl("delete", "pytorchjob", name, "--cascade=orphan")
    seen.kubectl("delete", "pods", f"--selector={LABELS}/job-name={name}", "--force", "--grace-period=0")


def _events(seen: Seen, name: str, reason: str) -> list[Object]:
    return [one for one in seen.events("PyTorchJob", name) if one["reason"] == reason]


def _phases(seen: Seen, name: str) -> list[str]:
    return sorted(pod["status"]["phase"] for pod in seen.pods(name).values())


def _types(seen: Seen, name: str) -> list[tuple[str, str]]:
    return [(one["type"], one["status"]) for one in seen.conditions(name)]


def _uid(seen: Seen, name: str, pod: str) -> str | None:
    found = seen.pods(name).get(pod)
    return uid(found) if found else None


def _change(seen: Seen, name: str, **run_policy: Any) -> None:
    seen.change(name, {"runPolicy": run_policy})


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _now() -> datetime:
    return datetime.now().astimezone()
