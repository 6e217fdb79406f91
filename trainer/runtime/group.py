"""The ranks of one generation on this machine: started together, watched together, stopped together."""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from trainer.exits import Exit, from_wait_status
from trainer.runtime.ranks import Rank, RankSettings, fork_rank
from trainer.runtime.rendezvous import Generation
from trainer.runtime.signals import LEAVE_SIGNAL, SignalInbox

# How long to wait for the rank that really failed when the first to end only lost its peer.
CAUSE_SECONDS = 5.0
# How long ranks may take to die of SIGTERM before SIGKILL.
TERMINATE_SECONDS = 2.0

log = logging.getLogger(__name__)


class RankGroup:
    """Forked ranks that live and die together."""

    def __init__(
        self,
        generation: Generation,
        *,
        node: int,
        logs: Path,
        echo: bool,
        inbox: SignalInbox,
        main: Callable[[int], None],
    ) -> None:
        """Fork the ranks of ``node``; each runs ``main`` with a descriptor of the supervisor's stdout.

        With ``echo`` what they print goes to that stdout too, tagged with the rank.
        """
        self._inbox = inbox
        self._asked_to_leave = False
        first_rank, count = generation.first_rank(node), generation.ranks_per_node
        # Until a rank has its own handler, the request to leave must not kill it: it stays pending until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, {LEAVE_SIGNAL})
        self._ranks = [
            fork_rank(
                RankSettings(
                    rank=first_rank + local_rank,
                    local_rank=local_rank,
                    world_size=generation.world_size,
                    local_world_size=count,
                    address=generation.address,
                    port=generation.port,
                    log_file=logs / f"rank-{first_rank + local_rank}.log",
                    echo=echo,
                ),
                inbox,
                main,
            )
            for local_rank in range(count)
        ]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {LEAVE_SIGNAL})

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
                    rank.close(from_wait_status(os.waitstatus_to_exitcode(status)))

    def ask_to_leave(self) -> None:
        """Ask the ranks, once, to save after the step they are in, and leave."""
        if not self._asked_to_leave:
            log.info("the ranks are asked to finish their step, save and leave")
            self._signal(LEAVE_SIGNAL)
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
        """End the ranks that still run: politely, then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            end = time.monotonic() + TERMINATE_SECONDS
            while self.running() and (left := end - time.monotonic()) > 0:
                self._inbox.wait(left)
                self.reap()

    def _signal(self, number: signal.Signals) -> None:
        for rank in self.running():
            os.kill(rank.pid, number)  # not reaped yet, so the number is still its own
