"""The process beside a training that logs to MLflow."""

import importlib.util
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from trainer.config import CommandFile, RunFile
from trainer.config.tracking import MLflow
from trainer.exits import ConfigError
from trainer.runtime.signals import die_with_parent
from trainer.tracking.mlflow_store import store_of

# How long the end of a run waits for the last lines. With the 50 s that ranks may take to leave it stays below the
# grace period of the chart's pods.
END_SECONDS = 30.0
# It has the processor when training leaves it.
NICENESS = 10
_DONE = b"done"

log = logging.getLogger(__name__)


def check_mlflow(run: RunFile | CommandFile, folder: Path) -> None:
    """See, before anything starts, that what a job's MLflow logging needs is installed.

    Raises:
        ConfigError: It is not.
    """
    if config := _config(run):
        check_installed(store_of(config, folder))


def check_installed(store: str) -> None:
    """See that there is MLflow's client, and what it needs for this store.

    Raises:
        ConfigError: There is not.
    """
    needed = ["mlflow"] if store.startswith(("http://", "https://")) else ["mlflow", "sqlalchemy", "alembic"]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"train.logging.mlflow: {' and '.join(missing)} cannot be imported here\n"
            "install pytorchjob-launcher[mlflow], or build the image with: make image EXTRAS=mlflow"
        )


@contextmanager
def logging_to_mlflow(run: RunFile | CommandFile, folder: Path) -> Iterator[None]:
    """Where the job asks for it, log to MLflow what is written to ``folder`` while the body runs."""
    if _config(run) is None:
        yield
        return
    try:
        process, ours = _start(folder)
    except (OSError, subprocess.SubprocessError) as error:  # too many processes, say
        log.warning("MLflow: the process that logs to it cannot be started (%s); %s", error, _later(folder))
        yield
        return
    with ours, process:
        try:
            yield
        finally:
            _finish(process, ours, folder)


def _config(run: RunFile | CommandFile) -> MLflow | None:
    return None if isinstance(run, CommandFile) else run.train.logging.mlflow


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process with an interpreter of its own, which shares no library's state, and the socket to talk to it."""
    ours, theirs = socket.socketpair()
    with theirs, ExitStack() as undo:
        undo.callback(ours.close)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer", "mlflow", "--follow", str(folder)],
            stdin=theirs.fileno(),
            preexec_fn=partial(die_with_parent, os.getpid()) if sys.platform == "linux" else None,
        )
        undo.pop_all()
    return process, ours


def _finish(process: subprocess.Popen[bytes], ours: socket.socket, folder: Path) -> None:
    """Ask for the last lines and wait for them.

    The answer is read, not the exit code: who collects all children, as a container's first process does, has that.
    """
    ours.settimeout(END_SECONDS)
    answer = b""
    try:
        ours.shutdown(socket.SHUT_WR)
        answer = ours.recv(len(_DONE))
    except OSError:  # no answer in time, or it is gone
        pass
    finally:
        process.kill()
    if answer != _DONE:
        log.warning("MLflow: not everything was sent; %s", _later(folder))


def _later(folder: Path) -> str:
    return f"do that with: python -m trainer mlflow {folder}"


def job_ended(seconds: float) -> bool:
    """In the process beside: wait for the supervisor to say, by closing its end, that the job has ended."""
    return bool(select.select([sys.stdin.fileno()], [], [], seconds)[0])


def begin() -> None:
    """In the process beside: make way for the training, and leave signals to the supervisor."""
    os.nice(NICENESS)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def answer(*, sent: bool) -> None:
    """In the process beside: tell the supervisor, if it still waits, that everything was sent."""
    if sent:
        with suppress(OSError):  # it no longer waits
            os.write(sys.stdin.fileno(), _DONE)
