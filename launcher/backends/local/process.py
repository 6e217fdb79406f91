"""The supervisor's process: started apart from this terminal, found again later, ended with all it started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# A process's creation time is computed from the boot time, which moves by fractions of a second as the clock is
# corrected. A pid is not reused within this time of its first use.
CLOCK_TOLERANCE_SECONDS = 2.0
KILL_SECONDS = 10.0
POLL_SECONDS = 0.05

# Children of this very process; polled so that an ended one does not stay behind as a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Identity:
    """One process, told apart from any later one with the same pid, also after a reboot."""

    pid: int
    created: float


def spawn(command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]) -> Identity:
    """Start ``command`` in ``folder`` and a session of its own, so that Ctrl-C and hang-ups here do not reach it."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    # Not polled yet, so even a child that is dead by now still has its entry.
    return Identity(child.pid, psutil.Process(child.pid).create_time())


def is_alive(identity: Identity) -> bool:
    """Whether this very process runs."""
    return _find(identity) is not None


def terminate(identity: Identity, *, grace_seconds: float) -> bool:
    """Ask the process to leave and, after the grace period, kill it; nothing that it started survives.

    Returns:
        Whether it left by itself.
    """
    process = _find(identity)
    if process is None:
        return True
    started = _family(process)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    left = _wait([process], grace_seconds)
    if not left:
        # Ranks may have been replaced during the grace period.
        started += _family(process)
        _kill_group(process)
    for member in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    _wait(started, KILL_SECONDS)
    return left


def _find(identity: Identity) -> psutil.Process | None:
    try:
        process = psutil.Process(identity.pid)
        same = abs(process.create_time() - identity.created) <= CLOCK_TOLERANCE_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if same and _runs(process) else None


def _runs(process: psutil.Process) -> bool:
    """Whether it does anything yet. A zombie does not: in a container PID 1 may never reap it."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        _children.pop(process.pid, None)
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(processes: list[psutil.Process], seconds: float) -> bool:
    """Wait until none of them runs; False when time ran out first."""
    deadline = time.monotonic() + seconds
    while any(_runs(process) for process in processes):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all below it; ranks may have sessions of their own, so a process group does not reach them."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


def _kill_group(leader: psutil.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, signal.SIGKILL)
