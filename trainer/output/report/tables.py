"""The values that the templates place: tables and pictures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Cells as text; the templates escape it."""
    averages: Sequence[Sequence[str]] = ()
    """Rows that sum up the others, below them."""
    is_text: bool = False
    """Whether cells are text, set to the left; numbers are set to the right."""
    notes: Sequence[str] = field(default=())
    """Sentences below it."""


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    title: str
    alt: str
    """What it shows, for those who do not see it."""
    data: str
    """A ``data:`` URI."""
    caption: str = ""
    is_wide: bool = False
    """Whether it takes the page's whole width."""


def embedded(path: Path) -> str:
    """The PNG at ``path`` as a ``data:`` URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
