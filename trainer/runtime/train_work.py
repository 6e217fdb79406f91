"""Ranks that train what the run file describes, forked from a supervisor that has imported what they need."""

import signal
from functools import partial
from pathlib import Path

from trainer.config import RunFile
from trainer.output.checkpoint import Checkpointer
from trainer.runtime.ranks import Rank, RankSettings, fork_rank
from trainer.runtime.rendezvous import Generation
from trainer.runtime.signals import LEAVE_SIGNAL, SignalInbox

_BACKLOG = 128


class TrainWork:
    """The trainer's own ranks."""

    leave_signal = LEAVE_SIGNAL
    ranks_agree = True
    look_seconds = None

    def __init__(self, run: RunFile, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._checkpointer = Checkpointer(folder, keep=run.train.checkpoint.keep)
        self.restarts = run.train.restarts

    def start(self, generation: Generation, ranks: list[RankSettings], inbox: SignalInbox) -> list[Rank]:
        """Fork the ranks; rank 0 gets the socket that it serves the store on."""
        if generation.listener:
            generation.listener.listen(_BACKLOG)
        # Until a rank has its own handler, the request to leave must not kill it: it stays pending until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, {LEAVE_SIGNAL})
        started = [fork_rank(settings, inbox, partial(self._train, generation)) for settings in ranks]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {LEAVE_SIGNAL})
        if generation.listener:
            generation.listener.close()
        return started

    def _train(self, generation: Generation, progress_fd: int) -> None:
        from trainer.engine.run import run_rank
        from trainer.engine.training import RankTask
        from trainer.runtime.signals import LeaveRequest

        leave = LeaveRequest()
        run_rank(RankTask(self._run, self._folder, generation.attempt, generation.listener, progress_fd, leave))

    def look(self, generation: Generation) -> None:
        """They see to themselves."""

    def ended(self) -> None:
        """They leave nothing behind."""

    def newest_checkpoint(self) -> str | None:
        """The newest checkpoint's folder."""
        return self._checkpointer.newest_name()

    def finish(self, attempt: int) -> None:
        """Rank 0 has written everything before the last barrier."""
