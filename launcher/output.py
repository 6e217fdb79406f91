"""What goes to stdout: aligned tables for people, JSON and YAML with stable keys for programs."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from launcher.backends.base import JobStatus, Results, Submission

SCHEMA_VERSION = 1
DIGITS = 4
"""Decimals of a metric in a table; JSON has them all."""

Row = Sequence[str]


def printable(text: str) -> str:
    """``text`` with control characters escaped: a name or an exception must not steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def table(header: Row, rows: Iterable[Row]) -> str:
    """Left-aligned columns, two spaces apart."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def age(since: datetime, now: datetime | None = None) -> str:
    """How long ago, in kubectl's manner: 45s, 12m, 3h5m, 2d4h."""
    seconds = max(0, int(((now or datetime.now(UTC)) - since).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours}h" if hours and days < 10 else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    return f"{minutes}m" if minutes else f"{seconds}s"


def status_document(status: JobStatus) -> dict[str, Any]:
    """A status as JSON and YAML show it."""
    return {"schemaVersion": SCHEMA_VERSION, **_plain(asdict(status))}


def _plain(value: Any) -> Any:
    """The same value in JSON's own types."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value  # a StrEnum is no plain str to YAML


def show_submission(submission: Submission, form: str) -> None:
    """Print what a submit did."""
    status = submission.status
    if form in ("json", "yaml"):
        show_document({**status_document(status), "outcome": submission.outcome}, form)
    elif form == "name":
        click.echo(status.name)
    else:
        click.echo(f"{status.name} {submission.outcome}")


def show_status(status: JobStatus, form: str) -> None:
    """Print one job."""
    if form in ("json", "yaml"):
        show_document(status_document(status), form)
    else:
        _show_rows([status], form)


def show_list(statuses: Sequence[JobStatus], form: str, *, namespaces: bool = False) -> None:
    """Print many jobs; ``namespaces`` adds a column where they are of several."""
    if form in ("json", "yaml"):
        jobs = [_plain(asdict(status)) for status in statuses]
        show_document({"schemaVersion": SCHEMA_VERSION, "jobs": jobs}, form)
    else:
        _show_rows(statuses, form, namespaces=namespaces)


def _show_rows(statuses: Sequence[JobStatus], form: str, *, namespaces: bool = False) -> None:
    if form == "name":
        for status in statuses:
            click.echo(status.name)
        return
    columns = COLUMNS | WIDE_COLUMNS if form == "wide" else COLUMNS
    if namespaces:
        columns = {"NAMESPACE": lambda status: status.namespace, **columns}
    click.echo(table(list(columns), ([cell(status) for cell in columns.values()] for status in statuses)))


def _progress(status: JobStatus) -> str:
    progress = status.progress
    return f"{progress.step}/{progress.steps}" if progress else "-"


COLUMNS: dict[str, Callable[[JobStatus], str]] = {
    "NAME": lambda status: status.name,
    "STATE": lambda status: str(status.state),
    "RANKS": lambda status: str(status.ranks),
    "NODES": lambda status: str(status.nodes),
    "ATTEMPT": lambda status: str(status.attempt),
    "AGE": lambda status: age(status.submitted),
}
WIDE_COLUMNS: dict[str, Callable[[JobStatus], str]] = {
    "STEP": _progress,
    "EXIT": lambda status: "-" if status.exit_code is None else str(status.exit_code),
    "BACKEND": lambda status: status.backend,
    "RESULTS": lambda status: status.results,
    "REASON": lambda status: status.reason or "-",
}

# The split, and the metrics that a task has first: more would not fit the width of a terminal.
NARROW_METRICS = 4


def show_results(name: str, results: Results, form: str) -> None:
    """Print a finished job's metrics and where its files are."""
    summary = results.summary or {}
    if form in ("json", "yaml"):
        show_document({"schemaVersion": SCHEMA_VERSION, "name": name, "path": results.path, "summary": summary}, form)
        return
    metrics = {key: _cell(value) for key, value in _scalars(summary.get("metrics")).items()}
    folds = summary.get("folds")
    for key, deviation in _scalars(folds.get("std") if isinstance(folds, dict) else None).items():
        if key in metrics:
            metrics[key] += f" ± {_cell(deviation)}"
    known = {"NAME": name, "EPOCHS": summary.get("epochs", "-"), "STEPS": summary.get("steps", "-")}
    columns = metrics if form == "wide" else dict(list(metrics.items())[:NARROW_METRICS])
    row = {**known, **{key.upper(): value for key, value in columns.items()}}
    click.echo(table(list(row), [[str(value) for value in row.values()]]))
    if hidden := len(metrics) - len(columns):
        click.echo(f"{hidden} more metrics with -o wide", err=True)
    if form == "wide":
        tables = (_interval_table(summary.get("intervals")), _class_table(summary.get("report")))
        if shown := [text for text in tables if text]:
            click.echo("\n" + "\n\n".join(shown) + "\n")
    click.echo(f"results: {printable(results.path)}")


def _interval_table(intervals: Any) -> str:
    """Confidence intervals of the metrics, where the summary has them."""
    bounds = intervals if isinstance(intervals, dict) else {}
    rows = [[key, *map(_cell, pair)] for key, pair in bounds.items() if isinstance(pair, list) and len(pair) == 2]
    confidence = bounds.get("confidence")
    if not rows or not isinstance(confidence, float):
        return ""
    return table([f"{100 * confidence:g}% INTERVAL", "FROM", "TO"], rows)


def _class_table(report: Any) -> str:
    """Metrics of each class, where the summary's report lists them."""
    listed = report.get("classes") if isinstance(report, dict) else None
    rows = [_scalars(row) for row in listed] if isinstance(listed, list) else []
    if not rows or not rows[0]:
        return ""
    header = list(rows[0])
    return table([key.upper() for key in header], ([_cell(row.get(key, "-")) for key in header] for row in rows))


def _scalars(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(value, (str, int, float))}


def _cell(value: Any) -> str:
    return f"{value:.{DIGITS}f}" if isinstance(value, float) else str(value)


def show_document(document: dict[str, Any], form: str) -> None:
    """Print JSON or YAML."""
    if form == "json":
        click.echo(json.dumps(document, indent=2))
        return
    import yaml

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
