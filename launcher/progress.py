"""A job's progress while somebody watches: a bar on a terminal, plain lines elsewhere, both on stderr.

Where a job waits for something, what to do about it is said once, whatever else changes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from launcher.backends.base import JobStatus
from launcher.output import printable

PLAIN_SECONDS = 10.0

Show = Callable[[JobStatus], None]


@contextmanager
def follow_display(console: Console | None = None) -> Iterator[Show]:
    """Yield what is to be called with each new status."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield PlainDisplay(lambda line: click.echo(line, err=True)).show
        return
    with BarDisplay(console) as display:
        yield display.show


class Notices:
    """What a job waits for, and what to do about it, each time that the latter changes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._said = ""

    def show(self, status: JobStatus) -> None:
        """Write both if there is something new to do."""
        if status.advice and status.advice != self._said:
            self._write(f"{status.name}: {describe(status)}")
        self.show_advice(status)

    def show_advice(self, status: JobStatus) -> None:
        """Write the latter alone."""
        if status.advice and status.advice != self._said:
            self._said = status.advice
            self._write(advice(status))


class PlainDisplay:
    """A line at each change of state, attempt or epoch, and otherwise every few seconds."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._notices = Notices(write)
        self._seen: object = None
        self._last = clock()

    def show(self, status: JobStatus) -> None:
        """Write a line if this status is worth one."""
        progress = status.progress
        milestone = (status.state, status.attempt, status.reason, progress and (progress.fold, progress.epoch))
        if milestone == self._seen and self._clock() - self._last < PLAIN_SECONDS:
            return
        self._seen, self._last = milestone, self._clock()
        self._write(f"{status.name}: {describe(status)}")
        self._notices.show_advice(status)


class BarDisplay:
    """One bar over all steps."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=console,
        )
        self._task = self._bar.add_task("", total=1, numbers="")
        self._notices = Notices(lambda text: self._bar.console.print(text, markup=False, highlight=False))

    def __enter__(self) -> "BarDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def show(self, status: JobStatus) -> None:
        """Redraw the bar."""
        progress = status.progress
        self._notices.show(status)
        self._bar.update(self._task, description=f"{status.name} {status.state}")
        if progress:
            self._bar.update(self._task, completed=progress.step, total=progress.steps, numbers=_numbers(status))
        if status.reason:
            self._bar.update(self._task, numbers=printable(status.reason))


def describe(status: JobStatus) -> str:
    """One line on where a job stands."""
    parts = [str(status.state)]
    if status.progress:
        parts += [f"step {status.progress.step}/{status.progress.steps}", _numbers(status)]
    if status.reason:
        parts.append(printable(status.reason))
    return ", ".join(parts)


def advice(status: JobStatus) -> str:
    """What to do about it, as indented lines."""
    return "\n".join(f"  {printable(line)}" for line in status.advice.splitlines())


def _numbers(status: JobStatus) -> str:
    progress = status.progress
    if progress is None:
        return ""
    parts = [f"fold {progress.fold}/{progress.folds}"] if progress.folds else []
    if progress.epoch is not None and progress.epochs is not None:
        parts.append(f"epoch {progress.epoch}/{progress.epochs}")
    parts.append("loss -" if progress.loss is None else f"loss {progress.loss:.4f}")
    if progress.samples_per_second:  # not known yet at the first step
        parts.append(f"{progress.samples_per_second:,.0f} samples/s")
    return ", ".join(parts)
