"""Logs of all pods of a job, merged; each is read on from where it was left, so that a reconnect repeats no line."""

import heapq
import queue
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from launcher.backends.base import LogLine
from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.errors import Invalid, NotFound
from launcher.backends.kubernetes.kinds import POD, Object, name_of, uid_of
from launcher.backends.kubernetes.pods import is_active, trainer_status
from launcher.backends.kubernetes.record import CONTAINER, Job
from launcher.backends.kubernetes.transport import Broken
from launcher.errors import LauncherError
from trainer.config.contract import PROGRESS_TAG

POLL_SECONDS = 2.0
# A container may write nothing for long; after this the connection is opened anew, from where it was.
SILENCE_SECONDS = 20.0
# Lines that were read and not yet printed, at most.
MOST_WAITING = 10_000
# Progress lines are not shown, so more lines than wanted are asked for.
PROGRESS_SHARE = 4

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
_RANK = re.compile(r"\[rank (\d+)\] ?")


@dataclass(frozen=True, order=True)
class Line:
    """One line, by its time in nanoseconds."""

    time: int
    text: str = field(compare=False)


@dataclass
class Position:
    """How far a log has been read. Servers start at whole seconds, so the lines of the last moment are counted."""

    time: int = 0
    count: int = 0

    @property
    def since(self) -> str | None:
        """The second to go on from."""
        if not self.time:
            return None
        return datetime.fromtimestamp(self.time // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def advance(self, lines: Iterator[Line]) -> Iterator[Line]:
        """Of lines that start at ``since`` those that are new."""
        old, last = self.count, self.time
        for line in lines:
            if line.time < last:
                continue
            if line.time == last and old > 0:
                old -= 1
                continue
            self.count = self.count + 1 if line.time == self.time else 1
            self.time = line.time
            yield line


def parse(raw: bytes, previous: int) -> Line:
    """A line with its time; text that has none, such as a node's own remark, takes that of the line before."""
    match = _STAMP.match(raw)
    if match is None:
        return Line(previous, _decode(raw))
    seconds = datetime.fromisoformat((match[1] + match[3]).decode()).timestamp()
    return Line(int(seconds) * 10**9 + int((match[2] or b"").ljust(9, b"0")), _decode(raw[match.end() :]))


def _decode(raw: bytes) -> str:
    return raw.removesuffix(b"\r").decode("utf-8", errors="replace")


class PodLog:
    """The log of one pod's training container, over its restarts in place."""

    def __init__(self, api: Api, pod: Object) -> None:
        self._api = api
        self._name = name_of(pod)
        self._namespace = str(pod["metadata"]["namespace"])
        self._uid = uid_of(pod)
        self._restarts = _restarts(pod)
        self._position = Position()

    def so_far(self, pod: Object, tail: int | None) -> Iterator[Line]:
        """What is there now; of a container that waits to be started again, what the last one wrote."""
        status = trainer_status(pod)
        previous = "waiting" in status.get("state", {}) and _restarts(pod) > 0
        if not status or ("waiting" in status.get("state", {}) and not previous):
            return iter(())
        if tail is None:
            return self._read(previous=previous)
        lines = self._read(previous=previous, tailLines=str(tail * PROGRESS_SHARE))
        return iter(deque((line for line in lines if not is_progress(line.text)), maxlen=tail))

    def follow(self, stopped: Callable[[], bool]) -> Iterator[Line]:
        """Lines from here on, until the pod has ended or is gone."""
        while not stopped():
            yield from self._read(follow="true")
            pod = self._look()
            if pod is None:
                return
            if _restarts(pod) > self._restarts:
                self._restarts = _restarts(pod)
                yield from self._read(previous=True)
            elif not is_active(pod):
                yield from self._read()
                return
            else:
                threading.Event().wait(POLL_SECONDS / 4)  # nothing yet, or a cut connection

    def _look(self) -> Object | None:
        """The pod, unless it is gone or another one bears its name."""
        try:
            pod = self._api.get(POD, self._name, self._namespace)
        except NotFound:
            return None
        return pod if uid_of(pod) == self._uid else None

    def _read(self, *, previous: bool = False, **query: str) -> Iterator[Line]:
        """New lines; a broken connection just ends them, since the position is known."""
        asked = {"container": CONTAINER, "timestamps": "true", **query}
        if previous:
            asked["previous"] = "true"
        if self._position.since:
            asked["sinceTime"] = self._position.since
        try:
            with self._api.pod_log(self._name, self._namespace, asked, silence=SILENCE_SECONDS) as lines:
                yield from self._position.advance(self._parsed(lines))
        except (Broken, Invalid, NotFound):
            return  # cut off, not started yet, or gone

    def _parsed(self, lines: Iterator[bytes]) -> Iterator[Line]:
        for raw in lines:
            yield parse(raw, self._position.time)


def is_progress(text: str) -> bool:
    """Whether a line is meant for `launcher status` rather than for people."""
    return text.startswith(PROGRESS_TAG + " ")


def _restarts(pod: Object) -> int:
    return int(trainer_status(pod).get("restartCount") or 0)


@dataclass(frozen=True)
class Choice:
    """Which lines are wanted."""

    rank: int | None = None
    ranks_per_node: int = 1
    tagged: bool = True
    """Whether the pods mark all lines of their ranks; under torchrun some have no mark."""

    def wants_pod(self, index: int) -> bool:
        """Whether a pod holds wanted lines."""
        return self.rank is None or self.rank // self.ranks_per_node == index

    def shown(self, job: str, pod: str, text: str) -> LogLine | None:
        """The line as it is shown; None when it is not wanted."""
        if is_progress(text):
            return None
        match = _RANK.match(text)
        if match is None:
            wanted = self.rank is None or not self.tagged
            return LogLine(source=pod.removeprefix(f"{job}-"), text=text) if wanted else None
        if self.rank not in (None, int(match[1])):
            return None
        return LogLine(source=f"rank {match[1]}", text=text[match.end() :])


class JobLogs:
    """The merged logs of a job's pods."""

    def __init__(self, api: Api, job: Job, choice: Choice) -> None:
        self._api = api
        self._job = job
        self._choice = choice
        self._logs: dict[str, PodLog] = {}
        self._arrived: queue.Queue[tuple[str, str] | Exception] = queue.Queue(MOST_WAITING)
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()

    def so_far(self, pods: Iterable[Object], tail: int | None) -> Iterator[LogLine]:
        """What the pods wrote until now, by time."""
        streams = [self._named(pod, self._log(pod).so_far(pod, tail)) for pod in pods]
        for _, name, text in heapq.merge(*streams, key=lambda item: item[0]):
            if line := self._choice.shown(self._job.name, name, text):
                yield line

    def follow(self, look: Callable[[], tuple[Iterable[Object], bool]]) -> Iterator[LogLine]:
        """What they write from now on, pods that come later included, until ``look`` says that the job is over.

        Args:
            look: The pods now, and whether the job is over.
        """
        try:
            while True:
                pods, is_over = look()
                for pod in pods:
                    self._start(pod)
                yield from self._lines(POLL_SECONDS)
                if is_over and not any(thread.is_alive() for thread in self._threads):
                    yield from self._lines(0)
                    return
        finally:
            self._stop.set()

    def _log(self, pod: Object) -> PodLog:
        return self._logs.setdefault(uid_of(pod), PodLog(self._api, pod))

    def _named(self, pod: Object, lines: Iterator[Line]) -> Iterator[tuple[int, str, str]]:
        return ((line.time, name_of(pod), line.text) for line in lines)

    def _start(self, pod: Object) -> None:
        """Follow a pod once its container has started."""
        name = f"log {uid_of(pod)}"
        has_started = bool(set(trainer_status(pod).get("state", {})) & {"running", "terminated"})
        if has_started and name not in {thread.name for thread in self._threads}:
            log = self._log(pod)
            self._threads.append(threading.Thread(target=self._pump, args=(pod, log), daemon=True, name=name))
            self._threads[-1].start()

    def _pump(self, pod: Object, log: PodLog) -> None:
        try:
            for line in log.follow(self._stop.is_set):
                if not self._hand_over((name_of(pod), line.text)):
                    return
        except LauncherError as error:
            self._hand_over(error)

    def _hand_over(self, item: tuple[str, str] | Exception) -> bool:
        """Wait until somebody takes it; False when nobody does any more."""
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._arrived.put(item, timeout=POLL_SECONDS)
                return True
        return False

    def _lines(self, seconds: float) -> Iterator[LogLine]:
        """What has arrived, waiting a little for the first."""
        try:
            item = self._arrived.get(timeout=seconds) if seconds else self._arrived.get_nowait()
            while True:
                if isinstance(item, Exception):
                    raise item
                if line := self._choice.shown(self._job.name, *item):
                    yield line
                item = self._arrived.get_nowait()
        except queue.Empty:
            return
