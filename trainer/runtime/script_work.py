"""Ranks that run a script of the user's own: each a Python process with the environment that torchrun would give it."""

import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from trainer.config import CommandFile
from trainer.config.contract import SUMMARY_FILE
from trainer.exits import Exit
from trainer.output.attempts import check_not_superseded
from trainer.output.script_results import newest_checkpoint, write_summary
from trainer.runtime.log_echo import LogEcho
from trainer.runtime.ranks import Rank, RankSettings, Words, send_output_to
from trainer.runtime.rendezvous import Generation
from trainer.runtime.script_end import explain
from trainer.runtime.signals import SignalInbox, die_with_parent

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


class ScriptWork:
    """A script, once a rank."""

    # Any program knows it, and one that does not care dies of it.
    leave_signal = signal.SIGTERM
    ranks_agree = False
    look_seconds = 1.0

    def __init__(self, run: CommandFile, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._reserved: socket.socket | None = None
        self._echo = LogEcho([], attempt=0)
        self.restarts = run.restarts

    def start(self, generation: Generation, ranks: list[RankSettings], inbox: SignalInbox) -> list[Rank]:
        """Start the script for each rank; rank 0 serves the store itself, on the port that is kept free for it."""
        self._reserved = generation.listener
        self._echo = LogEcho(ranks, attempt=generation.attempt)
        return [self._start(generation, settings, inbox) for settings in ranks]

    def _start(self, generation: Generation, settings: RankSettings, inbox: SignalInbox) -> Rank:
        error_file = settings.log_file.with_suffix(".error.json")

        def end(code: int, asked_to_leave: bool) -> tuple[int, Words]:
            if code == Exit.DONE and asked_to_leave and not (self._folder / SUMMARY_FILE).exists():
                # Many scripts save and end with 0 then. Started again, one that really was done ends at once.
                return Exit.PREEMPTED, {}
            return explain(code, log_file=settings.log_file, error_file=error_file)

        environment = {**os.environ, **settings.environment(), **self._variables(generation, error_file)}
        return Rank(settings.rank, self._fork(settings, inbox, environment), end, leads_group=True)

    def _variables(self, generation: Generation, error_file: Path) -> dict[str, str]:
        """What torchrun tells beyond a rank's place in its group, and what is our own."""
        return {
            "TORCHELASTIC_RESTART_COUNT": str(generation.attempt - 1),
            "TORCHELASTIC_MAX_RESTARTS": str(self.restarts.max_without_progress),
            "TORCHELASTIC_RUN_ID": self._run.job,
            "TORCHELASTIC_USE_AGENT_STORE": "False",
            "TORCHELASTIC_ERROR_FILE": str(error_file),
            "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
            "RESULTS_DIR": str(self._folder),
            "ATTEMPT": str(generation.attempt),
        }

    def _fork(self, settings: RankSettings, inbox: SignalInbox, environment: Mapping[str, str]) -> int:
        """Start one process; its number."""
        arguments = [sys.executable, "-u", *(expanded(text, environment) for text in self._run.command)]
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            inbox.close_in_child()
            os.setsid()  # so that what the script starts can be ended with it
            die_with_parent(parent)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which asks us to leave
            send_output_to(settings.log_file)
            os.execve(sys.executable, arguments, environment)  # noqa: S606 - no shell is wanted
        except BaseException:  # noqa: BLE001 - a child must not run on as a second supervisor, whatever happens
            traceback.print_exc()
        finally:
            os._exit(Exit.USER_EXCEPTION)

    def look(self, generation: Generation) -> None:
        """Pass on what the ranks print; a script does not look for a newer attempt itself.

        Raises:
            InfrastructureError: The job was started again elsewhere.
        """
        self._echo.copy()
        check_not_superseded(self._folder, generation.attempt)

    def ended(self) -> None:
        """Pass on what the ranks printed last, and let go of the port."""
        self._echo.copy(at_end=True)
        if self._reserved:
            self._reserved.close()

    def newest_checkpoint(self) -> str | None:
        """What the script saved last."""
        return newest_checkpoint(self._folder)

    def finish(self, attempt: int) -> None:
        """Write summary.json where the script did not."""
        check_not_superseded(self._folder, attempt)
        write_summary(self._run, self._folder, attempt=attempt)


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """An argument with ``$(NAME)`` replaced by that variable, as Kubernetes does it; ``$$`` is a dollar sign."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] is None else environment.get(match[1], match[0])

    return _REFERENCE.sub(value, text)
