"""Ranks as children of the supervisor; those that train are forks of it, which has everything imported already."""

import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from trainer.exits import Exit, TrainingError
from trainer.runtime.signals import SignalInbox, die_with_parent

# What fits beside other facts into a termination message of 4,096 bytes.
MAX_MESSAGE = 2000
MAX_TRACEBACK_LINES = 15


Words = dict[str, Any]
"""What is known of a rank's end beside its exit code: exception, message, lines."""


@dataclass
class Rank:
    """A rank's process, as the supervisor sees it."""

    rank: int
    pid: int
    explain: Callable[[int, bool], tuple[int, Words]]
    """From the exit code, and whether it had been asked to leave, to the code that this stands for and its words."""
    leads_group: bool = False
    """Whether it leads a process group of its own, of what it started."""
    exit_code: int | None = None
    """128 + n for a death by signal n; None while it runs."""
    error: Words = field(default_factory=dict)
    """What the rank said of its end."""

    def close(self, exit_code: int, *, asked_to_leave: bool) -> None:
        """Note its end and read its last words."""
        self.exit_code, self.error = self.explain(exit_code, asked_to_leave)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the rank alone; it must not have been reaped."""
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to the rank and to what it started, of which some may outlive it.

        The kernel hands out numbers in turn, so the one of a rank that has just been reaped is nobody else's yet. One
        that ended well may have done so long ago, and is left alone.
        """
        if self.exit_code == Exit.DONE:
            return
        if self.leads_group:
            with suppress(ProcessLookupError, PermissionError):  # nothing is left, or it has made no group yet
                os.killpg(self.pid, number)
                return
        if self.exit_code is None:
            os.kill(self.pid, number)


@dataclass(frozen=True)
class RankSettings:
    """What differs between the ranks of a group."""

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    group_rank: int
    """Place of its node among those that take part."""
    group_world_size: int
    """How many nodes take part."""
    address: str
    """Host of the group's store."""
    port: int
    log_file: Path
    echo: bool
    """Whether the supervisor's stdout also gets each line, as "[rank 3] text": a pod's log is all that kubectl sees."""

    def environment(self) -> dict[str, str]:
        """The variables that torchrun would set for it."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "GROUP_RANK": str(self.group_rank),
            "ROLE_RANK": str(self.rank),
            "ROLE_NAME": "default",
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "GROUP_WORLD_SIZE": str(self.group_world_size),
            "ROLE_WORLD_SIZE": str(self.world_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def fork_rank(settings: RankSettings, inbox: SignalInbox, main: Callable[[int], None]) -> Rank:
    """Fork a rank that calls ``main`` with the descriptor of the supervisor's stdout, and never returns from it."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Rank(settings.rank, pid, lambda code, _: (code, _read_words(reader)))
    try:
        os.close(reader)
        die_with_parent(parent)
        inbox.close_in_child()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which asks us to leave
        os.environ.update(settings.environment())
        stdout = _redirect_output(settings)
        code, words = _outcome(lambda: main(stdout))
        os.write(writer, json.dumps(words).encode())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    except BaseException:  # noqa: BLE001 - a child must not run on as a second supervisor, whatever happens
        traceback.print_exc()
    finally:
        os._exit(Exit.USER_EXCEPTION)


def _read_words(pipe: int) -> Words:
    with os.fdopen(pipe, "rb") as file:
        words = file.read()
    content: Words = json.loads(words) if words else {}
    return content


def send_output_to(log_file: Path) -> None:
    """Send stdout and stderr, C code's too, to a rank's log."""
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


class _EchoingStream(io.TextIOBase):
    """A text stream that also writes each whole line, tagged, to another descriptor."""

    def __init__(self, stream: TextIO, descriptor: int, tag: str) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._tag = tag
        self._line = ""

    def write(self, text: str) -> int:
        self._stream.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            os.write(self._descriptor, f"{self._tag} {line}\n".encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def _redirect_output(settings: RankSettings) -> int:
    """Send stdout and stderr, C code's too, to the rank's log; return a descriptor of the old stdout."""
    stdout = os.dup(1)
    send_output_to(settings.log_file)
    if settings.echo:
        tag = f"[rank {settings.rank}]"
        sys.stdout = _EchoingStream(sys.stdout, stdout, tag)
        sys.stderr = _EchoingStream(sys.stderr, stdout, tag)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, force=True)
    return stdout


def _outcome(main: Callable[[], None]) -> tuple[int, Words]:
    try:
        main()
    except TrainingError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.code, _words(error)
    except BaseException as error:  # noqa: BLE001 - the boundary where an exception becomes an exit code
        traceback.print_exc()
        return _code_of(error), _words(error)
    return Exit.DONE, {}


def _code_of(error: BaseException) -> int:
    import torch

    from trainer.runtime.distributed import as_infrastructure_error

    if isinstance(error, torch.OutOfMemoryError):
        return Exit.DEVICE_MEMORY
    if "device-side assert" in str(error):  # the finite check of a GPU step
        return Exit.NON_FINITE
    if as_infrastructure_error(error):
        return Exit.INFRASTRUCTURE
    return Exit.USER_EXCEPTION


def _words(error: BaseException) -> Words:
    lines = "".join(traceback.format_exception(error)).splitlines()[-MAX_TRACEBACK_LINES:]
    return {
        "exception": type(error).__name__,
        "message": str(error)[:MAX_MESSAGE],
        "lines": [] if isinstance(error, TrainingError) else [line[:200] for line in lines],
    }
