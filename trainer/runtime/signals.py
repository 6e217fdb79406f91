"""Signals as events that a loop can wait for, and as a flag that a training step can read."""

import os
import select
import signal
import socket
import time
from collections.abc import Iterable
from types import FrameType

# How the supervisor asks its ranks to save and leave. Not SIGTERM: a rank that hangs must die of that at once.
LEAVE_SIGNAL = signal.SIGUSR1


class SignalInbox:
    """Collects signals so that one loop can wait for the next of them with a timeout.

    Install it before anything slow is imported: a container's first process ignores SIGTERM until it has a handler.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._signals = tuple(signals)
        self.received: list[signal.Signals] = []
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._signals:
            signal.signal(number, _ignore)

    def wait(self, timeout: float | None) -> None:
        """Return when a signal came in or ``timeout`` seconds have passed; what came is added to ``received``."""
        select.select([self._reader], [], [], timeout)
        try:
            self.received.extend(signal.Signals(number) for number in self._reader.recv(4096))
        except BlockingIOError:
            return

    def sleep(self, seconds: float, *, unless: signal.Signals) -> None:
        """Wait ``seconds``, or until ``unless`` was received."""
        end = time.monotonic() + seconds
        while unless not in self.received and (left := end - time.monotonic()) > 0:
            self.wait(left)

    def close_in_child(self) -> None:
        """Give a forked child the default behaviour back."""
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Only the wake-up byte matters; a handler must exist for it to be written."""


class LeaveRequest:
    """Becomes true once the supervisor asks the rank to save and leave."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(LEAVE_SIGNAL, self._ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {LEAVE_SIGNAL})  # the supervisor forks with it blocked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent dies, so that a killed supervisor leaves no second writer.

    Linux only; elsewhere a thread looks at the parent twice a second.
    """
    if not _set_parent_death_signal():
        _watch_parent(parent)
    if os.getppid() != parent:  # it died before the request was in place
        os._exit(128 + signal.SIGKILL)


def _set_parent_death_signal() -> bool:
    import ctypes
    import sys

    if sys.platform != "linux":
        return False
    pr_set_pdeathsig = 1
    return ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL) == 0  # type: ignore[no-any-return]


def _watch_parent(parent: int) -> None:
    import threading

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
