"""YAML text to plain values, with the place of each and limits that a hostile file cannot pass.

Scalars follow YAML 1.2's core schema where it agrees with JSON, and stay text everywhere else: ``1e-3`` is a number;
``no``, ``0o17``, ``017``, ``1:30`` and ``2024-01-01`` are text, which a typed field then refuses in so many words.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from launcher.job.problems import Mark, Path, Problem, quoted

MAX_DEPTH = 32
MAX_ALIASES = 32
MAX_NODES = 50_000
MAX_DIGITS = 400

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass
class Document:
    """One YAML document, read."""

    value: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    """Where each value is: its key's place in a mapping, its own in a list."""
    problems: list[Problem] = field(default_factory=list)


class Unreadable(Exception):
    """Reading had to stop; ``problems`` holds the reason and all that was found before it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[-1].message)
        self.problems = problems


class _Stop(Exception):
    """The one problem that reading cannot go on after."""

    def __init__(self, message: str, mark: Mark | None = None) -> None:
        super().__init__(message)
        self.problem = Problem((), message, mark)


def read(text: str) -> Document:
    """Read one document.

    Raises:
        Unreadable: A syntax error, a passed limit, or more than one document.
    """
    loader = None
    reader = _Reader()
    try:
        loader = _Loader(text)
        root = loader.single_node()
        reader.document.value = reader.value(root, ()) if root else None
    except _Stop as stop:
        last = stop.problem
    except yaml.MarkedYAMLError as error:
        last = Problem((), _syntax(error), _mark(error.problem_mark or error.context_mark))
    except yaml.reader.ReaderError as error:
        last = Problem(
            (), f"not valid YAML: character U+{error.character:04X} is not allowed", _at(text, error.position)
        )
    except (ValueError, OverflowError):
        # PyYAML converts the digits of \U escapes and of %YAML unchecked.
        mark = _mark(loader.get_mark()) if loader else None
        last = Problem((), "not valid YAML: a number in an escape or directive is out of range", mark)
    else:
        reader.document.problems[:0] = loader.problems
        return reader.document
    raise Unreadable([*(loader.problems if loader else ()), *reader.document.problems, last])


class _Loader(yaml.SafeLoader):
    """Composes nodes only: values are made by `_Reader`, so no constructor of PyYAML ever runs."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[Problem] = []
        self._depth = self._aliases = self._nodes = 0

    def single_node(self) -> yaml.Node | None:
        """The root of the only document, or None when there is none."""
        self.get_event()  # type: ignore[no-untyped-call]  # the start of the stream
        root = None if self.check_event(yaml.StreamEndEvent) else self.compose_document()
        if not self.check_event(yaml.StreamEndEvent):
            raise _Stop("a second document starts here; a job file holds one", _mark(self._next_event().start_mark))
        return root

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node, counting depth, aliases and nodes against the limits and noting explicit tags."""
        event = self._next_event()
        mark = _mark(event.start_mark)
        self._count(event, mark)
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.append(Problem((), f"explicit tags such as {quoted(tag)} are not allowed; remove it", mark))
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def _next_event(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]

    def _count(self, event: yaml.Event, mark: Mark | None) -> None:
        self._nodes += 1
        self._aliases += isinstance(event, yaml.AliasEvent)
        if self._depth >= MAX_DEPTH:
            raise _Stop(f"nested deeper than {MAX_DEPTH} levels", mark)
        if self._aliases > MAX_ALIASES:
            raise _Stop(f"more than {MAX_ALIASES} aliases (*name); write the values out", mark)
        if self._nodes > MAX_NODES:
            raise _Stop(f"more than {MAX_NODES} values", mark)


class _Reader:
    """Nodes to values. Aliases make the nodes a graph, so depth and count are checked again on the way."""

    def __init__(self) -> None:
        self.document = Document()
        self._open: set[int] = set()
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The node's value; its place is noted unless its key's already was."""
        mark = _mark(node.start_mark)
        self.document.marks.setdefault(path, mark)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Stop(f"more than {MAX_NODES} values once aliases are expanded", mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise _Stop("an alias refers to the value that contains it", mark)
        if len(path) >= MAX_DEPTH:
            raise _Stop(f"nested deeper than {MAX_DEPTH} levels once aliases are expanded", mark)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return {key: self.value(item, (*path, key)) for key, item in self._entries(node, path)}
        finally:
            self._open.remove(id(node))

    def _entries(self, node: yaml.Node, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        """Keys and value nodes of a mapping; of a repeated key the first, and the others are reported."""
        first: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(path, "a key must be text, not a list or a mapping", mark)
                continue
            key = str(key_node.value)
            if _SURROGATE.search(key):
                self._problem(path, f"key {quoted(key)} is not valid Unicode", mark)
            elif key in first:
                line, column = first[key]
                self._problem((*path, key), f"duplicate key (first at {line}:{column})", mark)
            else:
                self.document.marks[(*path, key)] = first[key] = mark
                yield key, value_node

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = str(node.value)
        if node.style is None:
            try:
                return plain(text)
            except ValueError as error:
                self._problem(path, str(error), spoils=True)
        elif _SURROGATE.search(text):
            self._problem(path, f"not valid Unicode (got {quoted(text)})", spoils=True)
        else:
            return text
        return None

    def _problem(self, path: Path, message: str, mark: Mark | None = None, *, spoils: bool = False) -> None:
        self.document.problems.append(Problem(path, message, mark, spoils))


def plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar.

    Raises:
        ValueError: It is a number that cannot be used; the message says why.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of more than {MAX_DIGITS} digits")
        return int(text)
    if _NON_FINITE.fullmatch(text):
        raise ValueError(f"must be a finite number (got {text})")
    if not _FLOAT.fullmatch(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number (got {quoted(text)[1:-1]}, which is too large)")
    return number


def _syntax(error: yaml.MarkedYAMLError) -> str:
    parts = [error.problem or error.context or "unknown error"]
    if error.problem and error.context:
        parts.append(error.context)
        if error.context_mark and error.context_mark.line != getattr(error.problem_mark, "line", None):
            parts[-1] += f" that starts at line {error.context_mark.line + 1}"
    return "not valid YAML: " + ", ".join(" ".join(part.split()) for part in parts)


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


def _at(text: str, position: int) -> Mark:
    before = text[:position]
    return Mark(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
