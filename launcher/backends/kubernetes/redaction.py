"""Keeping credentials out of everything that is shown."""

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
_SHORTEST = 4

# What a plug-in's own output may hold although nobody has told us of it: values named as secrets, and long runs of
# characters that no path, address or word has.
_NAMED = re.compile(
    r"(?i)\b(token|password|passwd|secret|api[-_]?key|authorization)(\s*[=:]\s*)[^\s,;]+|\b(bearer)(\s+)[^\s,;]+"
)
_LONG_RUN = re.compile(
    r"(?<![\w./:-])(?=[\w+=-]*\d)[\w+=-]{16,}(?![\w./:-])|[A-Za-z0-9_=-]{8,}(\.[A-Za-z0-9_=-]{8,}){2,}"
)


class Secrets:
    """The credentials known so far."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def add(self, *values: str | None) -> None:
        """Remember values that must not be shown; very short ones would hide ordinary words."""
        self._known.update(value for value in values if value and len(value) >= _SHORTEST)

    def hide(self, text: str) -> str:
        """The text without known credentials."""
        return _replace(text, self._known)


def redact(text: str, known: Iterable[str] = ()) -> str:
    """A stranger's output without known credentials and without whatever looks like one."""
    without_runs = _LONG_RUN.sub(HIDDEN, _replace(text, known))
    return _NAMED.sub(lambda match: f"{match[1] or match[3]}{match[2] or match[4]}{HIDDEN}", without_runs)


def _replace(text: str, known: Iterable[str]) -> str:
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text
