"""What is wrong with a job file, and where: one line for each problem."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from launcher.errors import InvalidJob

MOST_REPORTED = 100
_PLAIN_KEY = re.compile(r"[\w-]{1,64}")

Path = tuple[str | int, ...]
"""Keys and list indices from the root of the file."""


class Mark(NamedTuple):
    """A place in the text, both numbers counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    path: Path
    message: str
    mark: Mark | None = None
    """Where, when it is not simply the place of ``path``."""
    spoils: bool = False
    """Whether the value at ``path`` is a stand-in, so that the schema has nothing to say about it."""


@dataclass(frozen=True)
class Places:
    """Where each field was written: in the file, or by an option that overrides it."""

    filename: str
    marks: dict[Path, Mark]
    options: dict[Path, tuple[str, Path]] = field(default_factory=dict)
    """For each overridden path: the option as the user knows it, and the path that the option itself names."""

    def override(self, path: Path, option: str, target: Path) -> None:
        """Let ``option`` answer for ``path`` and for all that the file said below it."""
        for inside in [known for known in self.marks if known[: len(path)] == path]:
            del self.marks[inside]
        self.options[path] = (option, target)

    def line(self, problem: Problem) -> tuple[tuple[int, int, int], str]:
        """The problem's line, after a key that sorts by position (overrides last)."""
        origin = problem.mark or self._origin(problem.path)
        name, message = dotted(problem.path), one_line(problem.message)
        if isinstance(origin, Mark):
            where = f"{self.filename}:{origin.line}:{origin.column}"
            return (0, *origin), f"{where} {name}: {message}" if name else f"{where} {message}"
        option, target = origin
        where = option if problem.path in ((), target) else f"{option}: {name}"
        return (1, 0, 0), f"{where}: {message}"

    def _origin(self, path: Path) -> Mark | tuple[str, Path]:
        """The place of the nearest enclosing field that was written anywhere."""
        for length in range(len(path), -1, -1):
            origin = self.options.get(path[:length]) or self.marks.get(path[:length])
            if origin:
                return origin
        return Mark(1, 1)


def invalid(problems: Iterable[Problem], places: Places) -> InvalidJob:
    """All problems as one error: how many there are, then a line for each, in the order of the file."""
    lines = [line for _, line in sorted((places.line(problem) for problem in problems), key=lambda pair: pair[0])]
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    if len(lines) > MOST_REPORTED:
        lines[MOST_REPORTED:] = [f"... and {len(lines) - MOST_REPORTED} more"]
    return InvalidJob("\n".join([f"{places.filename}: {count}", *lines]))


def dotted(path: Path) -> str:
    """``train.volumes.0.name``, in the form that ``--set`` takes; odd keys are quoted."""
    return ".".join(str(step) if _PLAIN_KEY.fullmatch(str(step)) else quoted(str(step)) for step in path)


def quoted(text: str, limit: int = 60) -> str:
    """Text in quotes on one line: shortened, with control characters escaped."""
    short = text if len(text) <= limit else text[:limit] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())


def one_line(text: str) -> str:
    """The text with line ends and control characters escaped, so that a file cannot write to the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def got(value: Any) -> str:
    """What a message shows of a value: ``(got -1)``."""
    return f"(got {shown(value)})"


def shown(value: Any) -> str:
    """A value as job.yaml would have it; lists and mappings by their kind only."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        return quoted(value)
    return json.dumps(value)[:60]
