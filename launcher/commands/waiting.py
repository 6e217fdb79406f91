"""Waiting for a job's end, and what is said about it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from launcher.errors import LauncherExit, TimedOut

if TYPE_CHECKING:
    from launcher.backends.base import Backend, JobStatus

LAST_LINES = 10


def wait_until_over(
    backend: Backend, name: str, *, timeout: float | None, show: Callable[[JobStatus], None]
) -> JobStatus:
    """Wait for the job's end, calling ``show`` with each status.

    Ctrl-C detaches: the job runs on, and the command exits 130.

    Raises:
        TimedOut: After ``timeout`` seconds; the job runs on.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    status: JobStatus | None = None
    try:
        for status in _statuses(backend, name, deadline):
            show(status)
    except KeyboardInterrupt:
        click.echo(f"\ndetached; {name} keeps running\n{_reattach(name)}", err=True)
        raise click.exceptions.Exit(LauncherExit.INTERRUPTED) from None
    except queue.Empty:
        raise TimedOut(_not_over(name, status)) from None
    if status is None:
        raise RuntimeError(f"the backend said nothing of {name}")
    return status


def say_why_it_waits() -> Callable[[JobStatus], None]:
    """For those who see no progress: a line on stderr whenever there is something new to do about a job that waits."""
    from launcher.progress import Notices

    return Notices(lambda text: click.echo(text, err=True)).show


def _not_over(name: str, status: JobStatus | None) -> str:
    from launcher.progress import advice, describe

    if status is None or not status.advice:
        return f"{name} is not over after the given time and keeps running\n{_reattach(name)}"
    return f"{name} is not over after the given time: {describe(status)}\n{advice(status)}\n{_reattach(name)}"


def _reattach(name: str) -> str:
    return f"reattach with `launcher logs -f {name}` or `launcher wait {name}`, stop it with `launcher cancel {name}`"


def _statuses(backend: Backend, name: str, deadline: float | None) -> Iterator[JobStatus]:
    """The backend's stream of statuses; raises queue.Empty at the deadline.

    A thread reads the stream, because a backend may be silent for as long as nothing changes.
    """
    stream: queue.Queue[JobStatus | Exception | None] = queue.Queue()

    def read() -> None:
        try:
            for status in backend.watch(name):
                stream.put(status)
            stream.put(None)
        except Exception as error:  # noqa: BLE001  raised again in the thread that waits
            stream.put(error)

    threading.Thread(target=read, daemon=True, name=f"watch {name}").start()
    while True:
        item = stream.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        if item is None:
            return
        if isinstance(item, Exception):
            raise item
        yield item


def exit_code(status: JobStatus) -> LauncherExit:
    """The launcher's exit code for a job that is over."""
    from launcher.backends.base import State

    return {State.SUCCEEDED: LauncherExit.SUCCEEDED, State.FAILED: LauncherExit.JOB_FAILED}.get(
        status.state, LauncherExit.STOPPED
    )


def explain_end(status: JobStatus) -> None:
    """Say on stderr why a job did not succeed, where its logs are, and how to go on."""
    from launcher.backends.base import State

    if status.state is State.SUCCEEDED:
        return
    if status.state is State.FAILED:
        lines = [*_failure(status), *_way_on(status)]
    else:
        lines = [_headline(status), "submit the same file again to go on from the last checkpoint"]
    click.echo("\n".join(lines), err=True)


def _way_on(status: JobStatus) -> list[str]:
    from trainer.exits import is_final

    if status.exit_code is None or not is_final(status.exit_code):
        return ["submit the same file again to go on from the last checkpoint"]
    return [
        "this would happen again: remove the cause, then submit the same file to go on from the last checkpoint",
        "a changed file is another run: start it with --fresh, or under another --name",
    ]


def _headline(status: JobStatus) -> str:
    from launcher.output import printable

    return printable(f"{status.name} {status.state}: {status.reason}".rstrip(": "))


def _failure(status: JobStatus) -> list[str]:
    from launcher.output import printable
    from trainer.exits import meaning

    failure = status.failure
    lines = [_headline(status)]
    if failure and not failure.lines:  # the headline has the first line alone; a traceback has the message anyway
        lines += [f"  {printable(line)}" for line in failure.cause.strip().splitlines()[1:]]
    if status.exit_code is not None:
        lines.append(f"  exit code  {status.exit_code} ({meaning(status.exit_code)})")
    if failure and failure.rank is not None:
        lines.append(f"  rank       {failure.rank}")
    if failure and failure.exception:
        lines.append(f"  exception  {printable(failure.exception.strip().splitlines()[-1])}")
    if failure and failure.lines:
        lines += ["  last lines", *(f"    {printable(line)}" for line in failure.lines[-LAST_LINES:])]
    lines.append(f"  logs       launcher logs {status.name}   ({status.results}/logs)")
    return lines
