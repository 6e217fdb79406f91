"""What an MLflow store in an SQLite file holds, read without MLflow."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from trainer.tracking.content import points

Point = tuple[str, int, float]


def rows(database: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    """The rows of a query; [] where there are no tables yet."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


def stored_points(database: Path, *, run_name: str = "tiny") -> list[Point]:
    """Metric, step and value of every point of a run, in an order; final metrics apart."""
    query = (
        "SELECT m.key, m.step, m.value FROM metrics m JOIN runs r ON r.run_uuid = m.run_uuid "
        "WHERE r.name = ? AND m.key NOT LIKE 'final/%' ORDER BY m.key, m.step"
    )
    return rows(database, query, run_name)


def expected_points(folder: Path) -> list[Point]:
    """The same from a folder's metrics.jsonl."""

    def found() -> Iterator[Point]:
        for text in (folder / "metrics.jsonl").read_text().splitlines():
            line = json.loads(text)
            yield from ((name, line["step"], value) for name, value in points(line).items())

    return sorted(found())
