"""Faults of a watch: whatever happens to the stream, each state is told once and the end exactly once."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from launcher.backends.base import JobStatus, State
from launcher.backends.kubernetes.watching import Pace
from launcher.errors import LauncherError, LauncherExit
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.faults import (
    after,
    bookmark,
    drop,
    event,
    forward,
    gone,
    gone_event,
    half,
    status,
    stream,
    unavailable,
)
from tests.api.jobs import PACE, Jobs, bring_to, eventually
from tests.api.rest import Object
from tests.api.scripted_server import Request, Rule, ScriptedServer, Step, on

JOBS = r"/apis/kubeflow.org/v1/namespaces/[^/]+/pytorchjobs"


class Watched:
    """A running job that is watched through a scripted server, whose watches take ``steps``, then the real ones."""

    def __init__(self, jobs: Jobs, server: ScriptedServer) -> None:
        self.jobs, self.server = jobs, server
        self.seen: list[JobStatus] = []
        self.error: LauncherError | None = None
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            self.seen.extend(self.jobs.backend.watch("digits"))
        except LauncherError as error:
            self.error = error

    @property
    def watches(self) -> list[Request]:
        return [one for one in self.server.seen("GET", JOBS) if one.query.get("watch") == "true"]

    @property
    def lists(self) -> list[Request]:
        return [one for one in self.server.seen("GET", JOBS) if "watch" not in one.query]

    def wait_for_watch(self, number: int) -> None:
        """Until that many watches were asked for, so that all faults before it are over."""
        eventually(lambda: len(self.watches) >= number or self.error)

    def end(self) -> list[State]:
        """Wait for the end; the states that were told."""
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the watch did not end"
        return [status.state for status in self.seen]


Watch = Callable[..., Watched]


@pytest.fixture
def watch(scripted_server: Callable[..., ScriptedServer], kubeconfig_for: KubeconfigFor, actor: ClusterActor) -> Watch:
    def start(*steps: Step, rules: tuple[Rule, ...] = (), pace: Pace = PACE) -> Watched:
        bring_to(actor, Jobs(kubeconfig_for("submitter")), "running")
        server = scripted_server(*rules, on("GET", JOBS, *steps, forward(), watch=True), upstream=True)
        return Watched(Jobs(kubeconfig_for("submitter", server=server), pace=pace), server)

    return start


def changed(actor: ClusterActor) -> Object:
    """The job as a watch would show it."""
    return actor.job("digits")


FAULTS: dict[str, Callable[[Object], Step]] = {
    "half a line, then an end": lambda job: stream(half(event("MODIFIED", job))),
    "half a line, then a cut": lambda job: stream(half(event("MODIFIED", job)), then="cut"),
    "a line and a half": lambda job: stream(event("MODIFIED", job) + half(event("MODIFIED", job)), then="cut"),
    "a line that is no JSON": lambda job: stream(b"<html>\n"),
    "410 as status": lambda job: gone(),
    "410 as event": lambda job: stream(gone_event()),
    "silence from the start": lambda job: stream(then="silence"),
    "silence after a line": lambda job: stream(event("MODIFIED", job), then="silence"),
    "an end at once": lambda job: stream(),
    "a dropped connection": lambda job: drop(),
    "503": lambda job: unavailable(),
    "500 as event": lambda job: stream(event("ERROR", {"kind": "Status", "code": 500, "message": "etcd"})),
    "a bookmark only": lambda job: stream(bookmark(job["metadata"]["resourceVersion"])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_end_is_told_exactly_once_whatever_happens_to_the_watch(
    watch: Watch, actor: ClusterActor, fault: str
) -> None:
    def step(exchange: object) -> None:
        FAULTS[fault](changed(actor))(exchange)  # type: ignore[arg-type]

    watched = watch(step, step)
    watched.wait_for_watch(3)
    actor.succeed("digits")
    states = watched.end()
    assert watched.error is None
    assert states == [State.RUNNING, State.SUCCEEDED]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_end_that_came_during_the_fault_is_not_missed(watch: Watch, actor: ClusterActor, fault: str) -> None:
    job: list[Object] = []

    def step(exchange: object) -> None:
        if not job:
            job.append(changed(actor))
            actor.succeed("digits")
        FAULTS[fault](job[0])(exchange)  # type: ignore[arg-type]

    watched = watch(step)
    states = watched.end()
    assert watched.error is None
    assert states.count(State.SUCCEEDED) == 1
    assert states[-1] is State.SUCCEEDED
    assert all(before != after for before, after in pairwise(watched.seen))


def test_a_watch_is_resumed_from_the_version_of_the_last_bookmark(watch: Watch, actor: ClusterActor) -> None:
    newest: list[str] = []

    def mark(exchange: object) -> None:
        actor.event(actor.job("digits"), "Noise", "so that the cluster's version is a newer one")
        path = f"apis/kubeflow.org/v1/namespaces/{actor.namespace}/pytorchjobs"
        newest.append(actor.rest.request("GET", path)["metadata"]["resourceVersion"])
        stream(bookmark(newest[0]), then="cut")(exchange)  # type: ignore[arg-type]

    watched = watch(mark, stream(then="cut"))
    watched.wait_for_watch(3)
    actor.succeed("digits")
    watched.end()
    first, *later = [one.query["resourceVersion"] for one in watched.watches[:3]]
    assert later == [newest[0]] * 2 != [first] * 2
    assert all(one.query["allowWatchBookmarks"] == "true" for one in watched.watches)
    assert all("timeoutSeconds" in one.query for one in watched.watches)


def test_a_version_from_the_future_is_not_trusted_for_ever(watch: Watch, actor: ClusterActor) -> None:
    watched = watch(stream(bookmark("999999999")), pace=replace(PACE, resync_windows=2))
    watched.wait_for_watch(2)
    actor.succeed("digits")
    assert watched.end()[-1] is State.SUCCEEDED


def test_410_lists_again_and_goes_on_from_there(watch: Watch, actor: ClusterActor) -> None:
    watched = watch(gone(), stream(gone_event()))
    watched.wait_for_watch(3)
    actor.succeed("digits")
    watched.end()
    assert len(watched.lists) == 3


def test_a_job_that_was_deleted_during_the_fault_ends_with_an_error(watch: Watch, actor: ClusterActor) -> None:
    def delete(exchange: object) -> None:
        for pod in actor.pods("digits"):
            actor.remove(pod)
        actor.rest.delete("PyTorchJob", "digits", actor.namespace)
        eventually(lambda: not actor.rest.list("PyTorchJob", actor.namespace))
        gone()(exchange)  # type: ignore[arg-type]

    watched = watch(delete)
    assert watched.end() == [State.RUNNING]
    assert watched.error is not None
    assert watched.error.exit_code == LauncherExit.NOT_FOUND
    assert "deleted while it was watched" in watched.error.message


def test_another_job_of_the_same_name_is_not_taken_for_the_watched_one(watch: Watch, actor: ClusterActor) -> None:
    def replaced(exchange: object) -> None:
        job = changed(actor)
        job["metadata"] = {**job["metadata"], "uid": "another", "resourceVersion": "99999"}
        listed = {"kind": "PyTorchJobList", "metadata": {"resourceVersion": "99999"}, "items": [job]}
        exchange.reply(200, json.dumps(listed).encode(), {})  # type: ignore[attr-defined]

    watched = watch(gone(), rules=(on("GET", JOBS, forward(), replaced, watch=False),))
    watched.end()
    assert watched.error is not None
    assert "deleted while it was watched" in watched.error.message


def test_a_watch_that_becomes_forbidden_ends(watch: Watch) -> None:
    watched = watch(status(403, "Forbidden", "no longer yours"))
    assert watched.end() == [State.RUNNING]
    assert watched.error is not None
    assert "no longer yours" in watched.error.message


def test_a_long_outage_is_announced_once_and_survived(watch: Watch, actor: ClusterActor) -> None:
    over = threading.Event()
    cut: list[Step] = [stream(then="cut")] * 6
    watched = watch(*cut, after(over, forward()))
    watched.wait_for_watch(7)
    actor.succeed("digits")
    over.set()
    assert watched.end() == [State.RUNNING, State.SUCCEEDED]
    assert len([line for line in watched.jobs.said if "was interrupted" in line]) == 1
