"""The supervisor: starts the ranks of one machine, starts them again after a crash, and records how it ended.

torch's elastic agent is not used: it retries final errors, closes its rendezvous on every failure, lets restarted ranks
meet in a dead generation's store, and waits a fixed 30 s for ranks that handle SIGTERM (docs/architecture.md). Ranks
see the environment that torchrun would give them.
"""

import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config import RunFile
from trainer.config.contract import LOGS_DIR
from trainer.config.train import Restarts
from trainer.exits import Exit, from_wait_status, is_final, meaning
from trainer.output.attempts import Attempt, newest_attempt
from trainer.output.checkpoint import Checkpointer
from trainer.output.storage import make_directory
from trainer.runtime.ranks import Rank, RankSettings, bind_store_socket, fork_rank
from trainer.runtime.signals import LEAVE_SIGNAL, SignalInbox

# How long ranks may take to save after they were asked to leave; below the usual grace period of a pod.
LEAVE_SECONDS = 50.0
# How long to wait for the rank that really failed when the first to end only lost its peer.
CAUSE_SECONDS = 5.0
# How long ranks may take to die of SIGTERM before SIGKILL.
TERMINATE_SECONDS = 2.0
MAX_BACKOFF_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """Why an attempt ended."""

    code: int
    rank: int | None = None
    words: dict[str, Any] | None = None
    cause: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the attempt's record."""
        words = self.words or {}
        return {
            "code": self.code,
            "cause": self.cause or words.get("message") or meaning(self.code),
            "rank": self.rank,
            "exception": words.get("exception"),
            "lines": words.get("lines", []),
        }


class Supervisor:
    """Runs ``ranks`` processes of one job until it is done, asked to leave, or beyond hope."""

    def __init__(self, run: RunFile, folder: Path, *, ranks: int, inbox: SignalInbox) -> None:
        self._run = run
        self._folder = folder
        self._world_size = ranks
        self._inbox = inbox
        self._checkpointer = Checkpointer(folder, keep=run.train.checkpoint.keep)
        self._deadline = Deadline(run.train.restarts)
        self._group: list[Rank] = []

    def supervise(self) -> int:
        """Start the ranks, again where that may help; the exit code of the last attempt."""
        restarts = Bound(self._run.train.restarts)
        restart_of = None
        self._inbox.wait(0)
        if self._asked_to_leave():
            self._new_attempt(self._newest_step(), None).close(End(Exit.PREEMPTED, cause="stopped early").to_json())
            return Exit.PREEMPTED
        while True:
            before = self._newest_step()
            attempt = self._start(before, restart_of)
            end = self._watch()
            end = self._beyond_retry(end, attempt, restarts, progressed=self._newest_step() != before)
            attempt.close(end.to_json())
            self._report(attempt, end)
            if is_final(end.code) or end.code == Exit.PREEMPTED or newest_attempt(self._folder) > attempt.number:
                return end.code
            self._inbox.sleep(restarts.backoff(), unless=signal.SIGTERM)
            if self._asked_to_leave():
                return Exit.PREEMPTED
            restart_of = attempt.number

    def _newest_step(self) -> int | None:
        return max(self._checkpointer.steps(), default=None)

    def _new_attempt(self, resumed_from: int | None, restart_of: int | None) -> Attempt:
        return Attempt(
            self._folder,
            {
                "pid": os.getpid(),
                "process_started": process_start_time(),
                "ranks": self._world_size,
                "nodes": 1,
                "rank_map": {str(rank): {"node": 0, "local_rank": rank} for rank in range(self._world_size)},
                "resumed_from": None if resumed_from is None else f"step-{resumed_from:08d}",
                "restart_of": restart_of,
            },
        )

    def _start(self, resumed_from: int | None, restart_of: int | None) -> Attempt:
        attempt = self._new_attempt(resumed_from, restart_of)
        logs = make_directory(self._folder / LOGS_DIR / f"attempt-{attempt.number}")
        listener = bind_store_socket()

        def rank_main(progress_fd: int) -> None:
            from trainer.engine.run import RankTask, run_rank
            from trainer.runtime.signals import LeaveRequest

            leave = LeaveRequest()
            run_rank(RankTask(self._run, self._folder, attempt.number, listener, progress_fd, leave))

        # Until a rank has its own handler, the request to leave must not kill it: it stays pending until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, {LEAVE_SIGNAL})
        self._group = [
            fork_rank(
                RankSettings(rank, self._world_size, listener.getsockname()[1], logs / f"rank-{rank}.log"),
                self._inbox,
                rank_main,
            )
            for rank in range(self._world_size)
        ]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {LEAVE_SIGNAL})
        listener.close()
        log.info("attempt %d: %d ranks started", attempt.number, self._world_size)
        return attempt

    def _watch(self) -> End:
        """Wait until all ranks have ended, one has failed, or we are asked to leave."""
        leave_by: float | None = None
        while running := self._running():
            self._reap()
            if failed := self._failed():
                return self._settle(failed)
            if not self._running():
                break
            if leave_by is None and self._asked_to_leave():
                log.info("asked to leave: the ranks finish their step and save")
                self._signal(running, LEAVE_SIGNAL)
                leave_by = time.monotonic() + LEAVE_SECONDS
            if self._deadline.passed():
                self._stop_all()
                return End(Exit.ATTEMPTS_EXHAUSTED, cause="restarts.deadline_seconds passed")
            if leave_by is not None and time.monotonic() > leave_by:
                self._stop_all()
                return End(Exit.PREEMPTED, cause=f"no step ended within {LEAVE_SECONDS:.0f} s of the request to leave")
            self._inbox.wait(self._next_wake(leave_by))
        codes = {rank.exit_code for rank in self._group}
        return End(Exit.PREEMPTED if Exit.PREEMPTED in codes else Exit.DONE)

    def _next_wake(self, leave_by: float | None) -> float | None:
        times = [moment for moment in (leave_by, self._deadline.moment) if moment is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _settle(self, failed: Rank) -> End:
        """Find the rank that failed first of itself, and stop the others."""
        give_up = time.monotonic() + CAUSE_SECONDS
        while failed.exit_code == Exit.INFRASTRUCTURE and self._running() and time.monotonic() < give_up:
            self._inbox.wait(give_up - time.monotonic())
            self._reap()
            failed = self._failed() or failed
        self._stop_all()
        return End(failed.exit_code or Exit.USER_EXCEPTION, failed.rank, failed.error)

    def _failed(self) -> Rank | None:
        """A rank that failed: rather one with a cause of its own than one that lost its peer."""
        failed = [rank for rank in self._group if rank.exit_code not in (None, Exit.DONE, Exit.PREEMPTED)]
        return min(failed, key=lambda rank: rank.exit_code == Exit.INFRASTRUCTURE, default=None)

    def _running(self) -> list[Rank]:
        return [rank for rank in self._group if rank.exit_code is None]

    def _reap(self) -> None:
        """Collect every child that has ended; as a container's first process also those that others left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for rank in self._group:
                if rank.pid == pid and rank.exit_code is None:
                    rank.close(from_wait_status(os.waitstatus_to_exitcode(status)))

    def _stop_all(self) -> None:
        """End the ranks that still run: politely, then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(self._running(), number)
            end = time.monotonic() + TERMINATE_SECONDS
            while self._running() and (left := end - time.monotonic()) > 0:
                self._inbox.wait(left)
                self._reap()

    def _signal(self, ranks: list[Rank], number: signal.Signals) -> None:
        for rank in ranks:
            os.kill(rank.pid, number)  # not reaped yet, so the number is still its own

    def _asked_to_leave(self) -> bool:
        return signal.SIGTERM in self._inbox.received or signal.SIGINT in self._inbox.received

    def _beyond_retry(self, end: End, attempt: Attempt, restarts: "Bound", *, progressed: bool) -> End:
        """Make a retryable end final once restarts are used up."""
        if is_final(end.code) or end.code == Exit.PREEMPTED:
            return end
        if self._asked_to_leave():
            return End(Exit.PREEMPTED, end.rank, end.words)
        if restarts.allow(progressed=progressed):
            return end
        words = (end.words or {}).get("message") or meaning(end.code)
        return End(
            Exit.ATTEMPTS_EXHAUSTED,
            end.rank,
            end.words,
            cause=f"{restarts.used} restarts without a new checkpoint; attempt {attempt.number} ended by: {words}",
        )

    def _report(self, attempt: Attempt, end: End) -> None:
        level = logging.INFO if end.code in (Exit.DONE, Exit.PREEMPTED) else logging.ERROR
        words = end.to_json()
        where = "" if end.rank is None else f" on rank {end.rank}"
        log.log(level, "attempt %d ended%s with %d: %s", attempt.number, where, end.code, words["cause"])


class Bound:
    """Counts restarts in a row without a new checkpoint."""

    def __init__(self, restarts: Restarts) -> None:
        self._restarts = restarts
        self.used = 0

    def allow(self, *, progressed: bool) -> bool:
        """Whether one more restart is allowed after an attempt that did or did not save something new."""
        if progressed:
            self.used = 0
        if self.used >= self._restarts.max_without_progress:
            return False
        self.used += 1
        return True

    def backoff(self) -> float:
        """Seconds to wait before the restart that was just allowed."""
        return min(self._restarts.backoff_seconds * 2.0 ** max(0, self.used - 1), MAX_BACKOFF_SECONDS)


class Deadline:
    """The moment after which the run is given up."""

    def __init__(self, restarts: Restarts) -> None:
        seconds = restarts.deadline_seconds
        self.moment = None if seconds is None else time.monotonic() + seconds

    def passed(self) -> bool:
        """Whether it is over."""
        return self.moment is not None and time.monotonic() >= self.moment


def process_start_time() -> float:
    """When this process started, seconds since the epoch, as psutil computes it; tells a reused pid from its owner."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line[:5] == "btime")
    except OSError:
        return time.time()
    return boot + ticks / os.sysconf("SC_CLK_TCK")
