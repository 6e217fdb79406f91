"""The ranks of one generation on this machine: started together, watched together, stopped together."""

import logging
import os
import signal
import time

from trainer.exits import Exit, from_wait_status
from trainer.runtime.ranks import Rank
from trainer.runtime.signals import SignalInbox

# How long to wait for the rank that really failed when the first to end only lost its peer.
CAUSE_SECONDS = 5.0
# How long ranks may take to die of SIGTERM before SIGKILL.
TERMINATE_SECONDS = 2.0

log = logging.getLogger(__name__)


class RankGroup:
    """Ranks that live and die together."""

    def __init__(self, ranks: list[Rank], *, leave_signal: signal.Signals, inbox: SignalInbox) -> None:
        """``ranks`` have just been started; ``leave_signal`` is what asks one of them to save and leave."""
        self._ranks = ranks
        self._leave_signal = leave_signal
        self._inbox = inbox
        self._asked_to_leave = False

    def running(self) -> list[Rank]:
        """Ranks that have not ended."""
        return [rank for rank in self._ranks if rank.exit_code is None]

    def preempted(self) -> bool:
        """Whether ranks left because they were asked to."""
        return any(rank.exit_code == Exit.PREEMPTED for rank in self._ranks)

    def failed(self) -> Rank | None:
        """A rank that failed: rather one with a cause of its own than one that lost its peer."""
        failed = [rank for rank in self._ranks if rank.exit_code not in (None, Exit.DONE, Exit.PREEMPTED)]
        return min(failed, key=lambda rank: rank.exit_code == Exit.INFRASTRUCTURE, default=None)

    def reap(self) -> None:
        """Collect every child that has ended; as a container's first process also those that others left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for rank in self._ranks:
                if rank.pid == pid and rank.exit_code is None:
                    code = from_wait_status(os.waitstatus_to_exitcode(status))
                    rank.close(code, asked_to_leave=self._asked_to_leave)

    def ask_to_leave(self) -> None:
        """Ask the ranks, once, to save after the step they are in, and leave."""
        if not self._asked_to_leave:
            log.info("the ranks are asked to finish their step, save and leave")
            for rank in self.running():
                rank.send(self._leave_signal)  # not reaped yet, so the number is still its own
        self._asked_to_leave = True

    def stop_after_failure(self, failed: Rank) -> Rank:
        """Stop all ranks after one ended; the one that failed first of itself, if it shows within a moment."""
        give_up = time.monotonic() + CAUSE_SECONDS
        while failed.exit_code == Exit.INFRASTRUCTURE and self.running() and time.monotonic() < give_up:
            self._inbox.wait(give_up - time.monotonic())
            self.reap()
            failed = self.failed() or failed
        self.stop()
        return failed

    def stop(self) -> None:
        """End the ranks that still run, and what the others left running: politely, then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for rank in self._ranks:
                rank.stop(number)
            end = time.monotonic() + TERMINATE_SECONDS
            while self.running() and (left := end - time.monotonic()) > 0:
                self._inbox.wait(left)
                self.reap()
