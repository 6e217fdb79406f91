"""What pods say of their ends and of why they wait."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from launcher.backends.kubernetes.kinds import Object
from launcher.backends.kubernetes.pods import ends, hangs, newest_warning, restarts, root_cause, waits

START = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def ended(code: int, seconds: int, message: str = "", reason: str = "Error") -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": at(seconds)}}


def said(code: int, cause: str, **more: Any) -> str:
    return json.dumps({"code": code, "cause": cause, **more})


def pod(
    index: int, state: Object | None = None, *, last: Object | None = None, phase: str = "Failed", **more: Any
) -> Object:
    container = {"name": "pytorch", "restartCount": 1 if last else 0, "state": state or {}, "lastState": last or {}}
    return {
        "metadata": {"name": f"job-worker-{index}", "labels": {"training.kubeflow.org/replica-index": str(index)}},
        "spec": {"containers": [{"resources": {"limits": {"memory": "4Gi"}}}]},
        "status": {"phase": phase, "containerStatuses": [container] if state is not None or last else [], **more},
    }


def blamed(*pods: Object) -> tuple[int, int | None, str]:
    cause = root_cause(ends(pods))
    assert cause is not None
    return cause.index, cause.code, cause.cause


def test_lost_peers_are_never_to_blame_while_there_is_another_end() -> None:
    early = pod(0, ended(138, 1, said(138, "lost rank 1")))
    late = pod(1, ended(4, 9, said(4, "loss is not finite")))
    assert blamed(early, late) == (1, 4, "loss is not finite")


def test_of_several_causes_the_earliest_counts_and_of_equal_times_the_first_pod() -> None:
    assert blamed(pod(0, ended(5, 7)), pod(1, ended(3, 2)))[0] == 1
    assert blamed(pod(1, ended(5, 2)), pod(0, ended(3, 2)))[0] == 0


def test_where_all_lost_a_peer_the_earliest_did_first() -> None:
    assert blamed(pod(0, ended(138, 5)), pod(1, ended(138, 3)), pod(2, ended(143, 1)))[:2] == (2, 143)


def test_a_crash_that_was_restarted_in_place_explains_the_peers_that_ended_soon_after() -> None:
    crashed = pod(1, {"running": {}}, last=ended(139, 10, said(139, "segmentation fault")), phase="Running")
    assert blamed(pod(0, ended(138, 12)), crashed)[1] == 139


def test_a_crash_of_long_ago_explains_nothing() -> None:
    crashed = pod(1, {"running": {}}, last=ended(139, 10), phase="Running")
    assert blamed(pod(0, ended(138, 4000)), crashed)[:2] == (0, 138)


def test_a_job_of_which_nothing_ended_has_no_cause() -> None:
    assert root_cause(ends([pod(0, {"running": {}}, phase="Running"), pod(1, ended(0, 1), phase="Succeeded")])) is None


def test_the_trainers_message_gives_rank_exception_and_lines() -> None:
    (end,) = ends([pod(0, ended(1, 1, said(1, "boom", rank=5, exception="ValueError", lines=["a", "b"])))])
    assert (end.rank, end.exception, end.lines) == (5, "ValueError", ("a", "b"))


@pytest.mark.parametrize("message", ["Traceback\nValueError: x", '["a"]', '{"lines": 3, "rank": "x", "cause": 7}', ""])
def test_the_message_of_any_other_program_is_taken_as_it_is(message: str) -> None:
    (end,) = ends([pod(0, ended(1, 1, message))])
    assert end.code == 1
    assert end.rank is None


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (1, "Error", "/opt/venv/bin/python: No module named trainer\n"),
        (
            1,
            "Error",
            "python: No module named trainer.__main__; 'trainer' is a package and cannot be directly executed",
        ),
        (2, "Error", "Unknown option: -P\nusage: python [option] ... [-c cmd | -m mod | file | -] [arg] ...\n"),
        (128, "StartError", 'exec: "python": executable file not found in $PATH: unknown'),
    ],
    ids=["no trainer", "another package of that name", "an old Python", "no Python"],
)
def test_an_image_without_the_trainer_is_told_with_the_ways_out(code: int, reason: str, message: str) -> None:
    (end,) = ends([pod(0, ended(code, 1, message, reason=reason))])
    assert end.cause.startswith("the image holds no trainer: build it FROM the trainer's, or give")
    assert "`runner: torchrun`" in end.cause
    assert end.lines


def test_a_script_that_misses_a_module_is_not_an_image_without_the_trainer() -> None:
    (end,) = ends([pod(0, ended(1, 1, "Traceback ...\nModuleNotFoundError: No module named 'trainer'"))])
    assert end.cause == ""


def test_memory_is_told_with_the_limit_and_an_eviction_with_the_nodes_words() -> None:
    (killed,) = ends([pod(0, ended(137, 1, reason="OOMKilled"))])
    assert killed.cause == "out of memory: the pod's limit is 4Gi (resources.memory)"
    (evicted,) = ends([pod(0, reason="Evicted", message="low on\ndisk")])
    assert (evicted.code, evicted.cause) == (None, "Evicted: low on disk")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no  gap"}]},
         "Unschedulable: no gap"),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
         "held back by a scheduling gate: a queue has not admitted it yet"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "back-off"}}}]},
         "ImagePullBackOff: back-off"),
        ({"initContainerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}, "ErrImagePull"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_why_a_pod_waits(status: Object, reason: str) -> None:
    assert waits({"metadata": {"name": "p"}, "status": status}) == reason


def event(reason: str, seconds: int, kind: str = "Warning", name: str = "p") -> Object:
    return {
        "type": kind, "reason": reason, "message": "m", "lastTimestamp": at(seconds), "involvedObject": {"name": name},
    }  # fmt: skip


def test_a_pod_that_is_being_made_is_explained_by_its_newest_warning() -> None:
    events = [event("FailedMount", 5), event("Older", 1), event("Pulling", 9, "Normal"), event("Else", 9, name="q")]
    assert waits({"metadata": {"name": "p"}, "status": {}}, events) == "FailedMount: m"
    assert newest_warning([]) == ""


def test_a_pod_that_should_be_gone_names_its_node() -> None:
    leaving = {"metadata": {"name": "p", "deletionTimestamp": at(0)}, "spec": {"nodeName": "n1"}}
    assert hangs(leaving, START + timedelta(seconds=20)) == ""
    assert hangs(leaving, START + timedelta(seconds=40)) == "p hangs in Terminating: is node n1 lost?"


def test_restarts_are_those_of_the_pod_that_has_most() -> None:
    assert restarts([pod(0, {"running": {}}), pod(1, {"running": {}}, last=ended(1, 1))]) == 1
    assert restarts([]) == 0
