"""Logs through a real API server and a scripted kubelet, as the submitter."""

import threading

import pytest

from launcher.backends.base import LogLine
from launcher.errors import InvalidJob, LauncherError
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.fake_kubelet import FakeKubelet
from tests.api.jobs import Jobs, bring_to, cluster, eventually


@pytest.fixture
def jobs(kubeconfig_for: KubeconfigFor) -> Jobs:
    return Jobs(kubeconfig_for("submitter"))


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.backends.kubernetes.logs.POLL_SECONDS", 0.1)


class Kubelet:
    """The logs of the digits job's pods."""

    def __init__(self, kubelet: FakeKubelet, namespace: str) -> None:
        self._kubelet = kubelet
        self._namespace = namespace

    def write(self, index: int, text: str | bytes, **more: bool) -> None:
        self._kubelet.write(self._namespace, f"digits-worker-{index}", text, **more)  # type: ignore[arg-type]

    def end(self, *indices: int) -> None:
        for index in indices:
            self._kubelet.end(self._namespace, f"digits-worker-{index}")

    def cut(self) -> None:
        self._kubelet.cut()


@pytest.fixture
def kubelet(fake_kubelet: FakeKubelet, namespace: str) -> Kubelet:
    return Kubelet(fake_kubelet, namespace)


def shown(jobs: Jobs, *, rank: int | None = None, tail: int | None = None) -> list[str]:
    lines = jobs.backend.logs("digits", follow=False, rank=rank, tail=tail)
    return [f"{line.source}: {line.text}" for line in lines]


class Follower:
    """Reads ``logs -f`` in a thread."""

    def __init__(self, jobs: Jobs, tail: int | None = None) -> None:
        self.lines: list[LogLine] = []
        self._logs = jobs.backend.logs("digits", follow=True, rank=None, tail=tail)
        self._thread = threading.Thread(target=lambda: self.lines.extend(self._logs))
        self._thread.start()

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.texts)

    def join(self) -> None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()


def test_the_pods_logs_are_merged_by_time_and_named(jobs: Jobs, actor: ClusterActor, kubelet: Kubelet) -> None:
    bring_to(actor, jobs, "running")
    kubelet.write(1, "first\n")
    kubelet.write(0, "second\n")
    kubelet.write(1, "third\n")
    assert shown(jobs) == ["worker-1: first", "worker-0: second", "worker-1: third"]


def test_lines_of_ranks_bear_their_rank_and_progress_is_left_out(
    jobs: Jobs, actor: ClusterActor, kubelet: Kubelet
) -> None:
    bring_to(actor, jobs, "running")
    kubelet.write(0, '[rank 0] loss 1\n@progress {"step": 1}\nattempt 1: 1 ranks started\n')
    kubelet.write(1, "[rank 1] loss 2\n")
    assert shown(jobs) == ["rank 0: loss 1", "worker-0: attempt 1: 1 ranks started", "rank 1: loss 2"]
    assert shown(jobs, rank=1) == ["rank 1: loss 2"]
    with pytest.raises(InvalidJob, match="its ranks are 0 to 1"):
        shown(jobs, rank=2)


def test_the_pod_of_a_rank_is_shown_whole_where_torchrun_marks_not_every_line(
    jobs: Jobs, actor: ClusterActor, kubelet: Kubelet
) -> None:
    jobs.submit(command=["train.py"], runner="torchrun")
    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.run("digits")
    kubelet.write(0, "of zero\n")
    kubelet.write(1, "of one\n")
    assert shown(jobs, rank=1) == ["worker-1: of one"]


def test_the_tail_is_counted_for_each_pod_without_progress_lines(
    jobs: Jobs, actor: ClusterActor, kubelet: Kubelet
) -> None:
    bring_to(actor, jobs, "running")
    kubelet.write(0, "a\nb\n@progress {}\nc\n@progress {}\n")
    kubelet.write(1, "d\n")
    assert shown(jobs, tail=2) == ["worker-0: b", "worker-0: c", "worker-1: d"]


def test_bytes_that_are_no_utf8_are_replaced(jobs: Jobs, actor: ClusterActor, kubelet: Kubelet) -> None:
    bring_to(actor, jobs, "running")
    kubelet.write(0, b"caf\xe9\n")
    assert shown(jobs) == ["worker-0: caf\ufffd"]


def test_a_container_that_waits_to_start_again_shows_what_the_last_one_wrote(
    jobs: Jobs, actor: ClusterActor, kubelet: Kubelet
) -> None:
    bring_to(actor, jobs, "running")
    kubelet.write(0, "crashed here\n", previous=True)
    actor.restart_in_place("digits", 0, 139)
    actor.waiting("digits", 0, "CrashLoopBackOff", "back-off 10s")
    assert shown(jobs) == ["worker-0: crashed here"]


def test_following_waits_for_the_pods_and_ends_with_the_job(jobs: Jobs, actor: ClusterActor, kubelet: Kubelet) -> None:
    jobs.submit()
    follower = Follower(jobs)
    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.run("digits")
    kubelet.write(0, "started\n")
    kubelet.write(1, "started too\n")
    follower.wait_for("started too")
    actor.succeed("digits")
    kubelet.write(0, "the end\n")
    kubelet.end(0, 1)
    follower.join()
    assert sorted(follower.texts) == ["started", "started too", "the end"]


def test_a_cut_connection_repeats_and_skips_no_line(jobs: Jobs, actor: ClusterActor, kubelet: Kubelet) -> None:
    bring_to(actor, jobs, "running")
    kubelet.write(0, "one\ntwo\n")
    follower = Follower(jobs)
    follower.wait_for("two")
    for text in ("three", "four", "five"):
        kubelet.cut()
        kubelet.write(0, f"{text}\n")
        follower.wait_for(text)
    actor.succeed("digits")
    kubelet.write(1, "")
    kubelet.end(0, 1)
    follower.join()
    assert follower.texts == ["one", "two", "three", "four", "five"]


def test_following_goes_on_in_the_pod_that_replaces_another(jobs: Jobs, actor: ClusterActor, kubelet: Kubelet) -> None:
    bring_to(actor, jobs, "running")
    kubelet.write(0, "before\n")
    follower = Follower(jobs)
    follower.wait_for("before")
    with cluster(actor):
        actor.restart_job("digits", 0, 138)
        kubelet.end(0)
    actor.run("digits")
    kubelet.write(0, "after\n")
    follower.wait_for("after")
    actor.succeed("digits")
    kubelet.write(1, "")
    kubelet.end(0, 1)
    follower.join()
    assert follower.texts[-1] == "after"


def test_a_job_whose_pods_are_gone_says_where_its_logs_are(jobs: Jobs, actor: ClusterActor, namespace: str) -> None:
    bring_to(actor, jobs, "running")
    actor.deadline("digits")
    assert shown(jobs) == []
    assert any(f"pvc/results/{namespace}/digits/logs" in line for line in jobs.said)


def test_who_may_not_read_logs_is_told_so_in_the_servers_words(
    kubeconfig_for: KubeconfigFor, jobs: Jobs, actor: ClusterActor
) -> None:
    bring_to(actor, jobs, "running")
    with pytest.raises(LauncherError, match='User "outsider" cannot'):
        shown(Jobs(kubeconfig_for("outsider")))
