"""Server processes of the tests: started with a log file, ready or explained, ended by their own process id."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_READY_SECONDS = 120.0
_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Server:
    """One running server."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait for ``ready``.

        Raises:
            RuntimeError: The process ended, or the time is over; with the end of its log.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready after {_READY_SECONDS:.0f} s:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """End the process, by force if it does not leave on its own."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    binary: Path, arguments: Iterable[str], log: Path, *, prefix: Iterable[str] = (), outlive: bool = False
) -> Server:
    """Start a server whose output goes to ``log``.

    Args:
        binary: The program.
        arguments: Its arguments.
        log: Where its output is appended; its folder is the working directory.
        prefix: A command that executes the program in its own place, such as nsenter.
        outlive: Whether it runs on when this process ends.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*prefix, binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" and not outlive else None,
        )
    return Server(binary.name, process, log)


def flags(values: dict[str, str]) -> list[str]:
    """Command-line flags as Go programs take them."""
    return [f"--{name}={value}" for name, value in values.items()]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, held together so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _die_with_parent() -> None:
    """Let the kernel end the server even when the test run is killed and no fixture is torn down."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
