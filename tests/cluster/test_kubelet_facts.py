"""What the kubelet does with the operator's pods: restarts in place, signals, deadlines, messages."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from launcher.job.chart_model import LIMIT_OF_ANNOTATIONS
from tests.cluster.base import Cluster
from tests.cluster.raw_jobs import SLEEP, Object, Seen, job, namespace, replica, status_of, uid

TMP: Object = {"volumes": [{"name": "tmp", "emptyDir": {}}]}
MOUNTED: Object = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
COUNT = "echo run >> /tmp/runs; run=$(wc -l < /tmp/runs); echo run $run | tee /dev/termination-log"
TWICE = f"{COUNT}; if [ $run -gt 1 ]; then {SLEEP}; fi; exit 138"
TELL_TIMES = f"date +%s >> /tmp/runs; if [ $(wc -l < /tmp/runs) -gt 2 ]; then cat /tmp/runs; {SLEEP}; fi; exit 138"
LINES = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done"
LONG_LINES = "i=0; while [ $i -lt 60 ]; do echo $(head -c 100 /dev/zero | tr '\\0' x); i=$((i+1)); done"
DEADLINE_SECONDS = 30


def _run_file(length: int) -> Object:
    """A pod that reads an annotation of so many characters from a file."""
    field = {"fieldPath": "metadata.annotations['run']"}
    volume = {"name": "run", "downwardAPI": {"items": [{"path": "run.json", "fieldRef": field}]}}
    mount = {"name": "run", "mountPath": "/etc/run"}
    made = replica("wc -c < /etc/run/run.json; exit 0", pod={"volumes": [volume]}, volumeMounts=[mount])
    made["template"]["metadata"] = {"annotations": {"run": "r" * length}}
    return made


@pytest.fixture(scope="module")
def seen(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """All jobs of this module, created at once."""
    jobs = (
        job("twice", replica(TWICE, rules=True, pod=TMP, **MOUNTED)),
        job("often", replica(TELL_TIMES, rules=True, pod=TMP, **MOUNTED)),
        job("outside", replica("exit 3", rules=True)),
        job("deleted", replica(SLEEP, rules=True)),
        job("deaf", replica("exec sleep 600", rules=True)),
        job("out-of-time", replica(SLEEP, rules=True, pod={"activeDeadlineSeconds": DEADLINE_SECONDS})),
        job("message", replica("head -c 6000 /dev/zero | tr '\\0' m > /dev/termination-log; exit 1")),
        job("lines", replica(f"{LINES}; exit 1")),
        job("long-lines", replica(f"{LONG_LINES}; exit 1")),
        job("annotation", _run_file(LIMIT_OF_ANNOTATIONS)),
    )
    with namespace(cluster, "kubelet-does", tmp_path_factory.mktemp("kubelet"), jobs) as seen:
        yield seen


def test_a_pods_own_deadline_ends_it_on_time_and_so_the_operator_notices_the_jobs(seen: Seen) -> None:
    pod = seen.until_running("out-of-time", 1)["worker-0"]
    seen.until_is("out-of-time", "Running")
    started = datetime.fromisoformat(pod["status"]["startTime"])
    age = (datetime.now(UTC) - started).seconds
    seen.change("out-of-time", {"runPolicy": {"activeDeadlineSeconds": age + 4}})
    failed = seen.until_is("out-of-time", "Failed")
    assert failed["message"] == "Job out-of-time has failed because it was active longer than specified deadline"
    noticed = datetime.fromisoformat(failed["lastTransitionTime"]) - started
    assert noticed.total_seconds() >= DEADLINE_SECONDS - 1
    # By uid: on a slow machine the first pod's time may be over before the job's, and then others have followed it.
    begun = [one for one in _about(seen, "out-of-time-worker-0", "Started") if one["involvedObject"]["uid"] == uid(pod)]
    assert len(begun) == 1, "the rules restart no container out of time"


def test_a_code_of_the_rules_restarts_the_container_in_place(seen: Seen) -> None:
    pod = seen.until_running("twice", 1)["worker-0"]
    again = _until_restarts(seen, "twice", 1)
    assert uid(again) == uid(pod)
    last = status_of(again)["lastState"]["terminated"]
    assert (last["exitCode"], last["message"]) == (138, "run 1\n")
    assert seen.log("twice-worker-0") == "run 2\n", "the volumes of the pod were kept"
    assert seen.log("twice-worker-0", "--previous") == "run 1\n"
    seen.until_is("twice", "Running")


def test_the_second_restart_in_place_waits_ten_seconds(seen: Seen) -> None:
    log = seen.until(lambda: seen.log("often-worker-0").split()[2:] and seen.log("often-worker-0"), "the third run")
    second, third = (int(time) for time in log.split()[1:])
    assert third - second >= 9
    assert _about(seen, "often-worker-0", "BackOff")


def test_a_code_outside_the_rules_ends_the_pod_and_the_job(seen: Seen) -> None:
    seen.until_is("outside", "Failed")
    pod = seen.pod("outside-worker-0")
    assert (pod["status"]["phase"], status_of(pod)["restartCount"]) == ("Failed", 0)


def test_the_container_of_a_pod_that_is_deleted_is_not_restarted_whatever_the_rules(seen: Seen) -> None:
    pod = seen.until_running("deleted", 1)["worker-0"]
    assert seen.exit_code_on_deletion("deleted-worker-0") == 143
    seen.until(lambda: _uids(seen, "deleted") not in ([], [uid(pod)]), "the operator made the pod again")
    assert _starts(seen, "deleted-worker-0", pod) == 1


def test_a_first_process_that_does_not_handle_the_signal_is_killed_after_the_grace_period(seen: Seen) -> None:
    pod = seen.until_running("deaf", 1)["worker-0"]
    assert seen.exit_code_on_deletion("deaf-worker-0") == 137
    seen.until(lambda: _uids(seen, "deaf") not in ([], [uid(pod)]), "the operator made the pod again")
    assert _starts(seen, "deaf-worker-0", pod) == 1


def test_of_a_termination_message_4096_bytes_are_kept(seen: Seen) -> None:
    assert _message(seen, "message") == "m" * 4096


def test_of_a_log_that_stands_in_for_it_80_lines_or_2048_bytes_are_kept(seen: Seen) -> None:
    assert _message(seen, "lines").splitlines() == [f"line {number}" for number in range(120, 200)]
    assert len(_message(seen, "long-lines")) == 2048


def test_the_longest_run_file_reaches_the_container_whole(seen: Seen) -> None:
    seen.until_is("annotation", "Succeeded")
    assert int(seen.log("annotation-worker-0")) == LIMIT_OF_ANNOTATIONS


def _until_restarts(seen: Seen, name: str, count: int) -> Object:
    def restarted() -> Object | None:
        pod = seen.pods(name).get("worker-0")
        statuses = pod and pod["status"].get("containerStatuses")
        return pod if statuses and statuses[0]["restartCount"] >= count and "running" in statuses[0]["state"] else None

    pod: Object = seen.until(restarted, f"{name} was restarted {count} times")
    return pod


def _state(seen: Seen, pod: str) -> Object:
    state: Object = status_of(seen.pod(pod))["state"]
    return state


def _uids(seen: Seen, name: str) -> list[str]:
    return [uid(pod) for pod in seen.pods(name).values()]


def _starts(seen: Seen, name: str, pod: Object) -> int:
    """How often the container of this very pod was started."""
    events = [one for one in _about(seen, name, "Started") if one["involvedObject"]["uid"] == uid(pod)]
    return sum(one["count"] for one in events)


def _about(seen: Seen, pod: str, reason: str) -> list[Object]:
    return [one for one in seen.events("Pod", pod) if one["reason"] == reason]


def _message(seen: Seen, name: str) -> str:
    seen.until_is(name, "Failed")
    return str(status_of(seen.pod(f"{name}-worker-0"))["state"]["terminated"]["message"])
