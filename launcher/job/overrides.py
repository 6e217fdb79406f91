"""Options that override fields of the job file: ``--set train.epochs=3``, ``--gpus 8``."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from launcher.job import yaml_nodes
from launcher.job.problems import Path, Places, Problem, dotted, shown

_MOST_DIGITS = 6  # of a list index


@dataclass(frozen=True)
class Override:
    """One option, parsed."""

    option: str
    """As the user knows it, such as ``--set train.epochs`` or ``--gpus``."""
    path: Path
    value: Any


class Rejected(Exception):
    """The option cannot be applied; the message says why."""


def from_assignment(key: str, text: str) -> Override:
    """``--set key=text``, with the text read as a YAML value.

    Raises:
        Rejected: The key or the value is malformed.
    """
    steps = key.split(".")
    if not all(steps):
        raise Rejected(f"{shown(key)} is not a key; write names joined by dots, such as train.epochs")
    if len(steps) > yaml_nodes.MAX_DEPTH:
        raise Rejected(f"nested deeper than {yaml_nodes.MAX_DEPTH} levels")
    try:
        document = yaml_nodes.read(text)
    except yaml_nodes.Unreadable as error:
        raise Rejected(str(error)) from None
    if document.problems:
        raise Rejected(document.problems[0].message)
    return Override(f"--set {dotted(tuple(steps))}", tuple(steps), document.value)


def apply(root: dict[str, Any], override: Override, places: Places) -> None:
    """Put the value into ``root``, creating mappings and lists on the way, and note where it came from.

    Raises:
        Rejected: Something on the way is neither a mapping nor a list, or an index is past the end.
    """
    here: Any = root
    path: Path = ()
    for position, step in enumerate(override.path):
        key = _key(here, str(step), path)
        path = (*path, key)
        if position == len(override.path) - 1:
            _put(here, key, override.value)
            places.override(path, override.option, path)
            return
        if _get(here, key) is None:
            _put(here, key, [] if str(override.path[position + 1]).isdecimal() else {})
            places.override(path, override.option, override.path)
        here = here[key]


def apply_all(root: dict[str, Any], overrides: Iterable[Override], places: Places) -> list[Problem]:
    """Apply overrides in order; what is wrong with them comes back as problems."""
    problems = []
    for override in overrides:
        try:
            apply(root, override, places)
        except Rejected as error:
            places.options.setdefault(override.path, (override.option, override.path))
            problems.append(Problem(override.path, str(error), spoils=True))
    return problems


def _key(here: Any, step: str, path: Path) -> str | int:
    """The step as a key of ``here``: an index where that is a list."""
    if isinstance(here, dict):
        return step
    if not isinstance(here, list):
        raise Rejected(f"{dotted(path)} is {shown(here)}, which has no {step}")
    if not step.isdecimal() or len(step) > _MOST_DIGITS or int(step) > len(here):
        ends = f"0 to {len(here) - 1}, or {len(here)} to append" if here else "0 to append, it is empty"
        raise Rejected(f"{dotted(path)} is a list; its index must be {ends} (got {step})")
    return int(step)


def _get(here: Any, key: str | int) -> Any:
    if isinstance(here, list):
        return here[key] if isinstance(key, int) and key < len(here) else None
    return here.get(key)


def _put(here: Any, key: str | int, value: Any) -> None:
    if isinstance(here, list) and key == len(here):
        here.append(value)
    else:
        here[key] = value
