"""report.html: one file that shows a run to anybody with a browser, without a network."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config.contract import PLOTS_DIR, REPORT_FILE
from trainer.output.storage import write_text

# Parts of summary.json that the page shows in a form of their own, or that are too long for it.
_SHOWN_ELSEWHERE = frozenset({"report", "confusion", "classes", "metrics", "samples", "skipped_samples"})
_MAX_SKIPPED = 100

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #777; --card: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.where { color: var(--faint); margin-top: .2rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.card { background: var(--card); border-radius: .5rem; padding: .7rem 1.1rem; min-width: 7rem; }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; } .card span { color: var(--faint); }
table { border-collapse: collapse; } th { text-align: left; font-weight: 600; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; } td.number, th.number { text-align: right; }
img { max-width: 100%; background: #fff; border-radius: .5rem; margin-bottom: 1rem; }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
"""


def write_report(folder: Path, run: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Write report.html from what the other files of the results folder say.

    Args:
        folder: Results folder; the PNGs of its plots are embedded.
        run: Content of run.json.
        summary: Content of summary.json; a classifier's has its ``report`` by class.
    """
    job = str(run.get("job", folder.name))
    body = [
        f"<h1>{_text(job)}</h1>",
        f'<p class="where">namespace {_text(run.get("namespace", ""))}, attempt {_text(run.get("attempt", ""))}</p>',
        _cards(summary.get("metrics", {})),
        *_plots(folder / PLOTS_DIR),
        _section("Classes", _class_table(summary["report"])) if "report" in summary else "",
        _section("Summary", _settings_table(_without(summary, _SHOWN_ELSEWHERE))),
        _section("Samples", _samples_table(summary.get("samples", {}))),
        _skipped(summary.get("skipped_samples", ())),
        _section("Configuration", _settings_table(run.get("train", {}))),
        _section("Versions", _settings_table({**run.get("versions", {}), "image": run.get("image")})),
    ]
    write_text(folder / REPORT_FILE, _page(job, "\n".join(body)))


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    """Any value as escaped text: names of classes, files and jobs come from users."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "none"
    if isinstance(value, bool | list | tuple | dict):
        return html.escape(json.dumps(value, ensure_ascii=False))
    return html.escape(str(value))


def _cards(metrics: Mapping[str, Any]) -> str:
    """The headline numbers: shares as percentages, the rest as they are."""
    cards = [
        f'<div class="card"><b>{_headline(name, value)}</b><span>{_text(name.replace("_", " "))}</span></div>'
        for name, value in metrics.items()
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def _headline(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if "loss" in name else f"{value:.2%}"
    return _text(value)


def _plots(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.png")):
        title = path.stem.replace("_", " ").replace("-", " ").capitalize()
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        image = f'<img alt="{_text(title)}" src="data:image/png;base64,{data}">'
        yield _section(title, image)


def _class_table(report: dict[str, Any]) -> str:
    columns = ("precision", "recall", "f1")
    rows = [
        (row["class"], *(f"{row[name]:.4f}" for name in columns), f"{row['support']:,}") for row in report["classes"]
    ]
    rows += [
        (f"{kind} average", *(f"{report[kind][name]:.4f}" for name in columns), f"{report['support']:,}")
        for kind in ("macro", "weighted")
    ]
    return _table(("class", "precision", "recall", "F1", "samples"), rows)


def _samples_table(samples: Mapping[str, Mapping[str, int] | int]) -> str:
    """Sizes of the splits, by class where the task has classes."""
    by_class = {split: counts for split, counts in samples.items() if isinstance(counts, Mapping)}
    classes = list(next(iter(by_class.values()), ()))
    rows = [(name, *(f"{counts.get(name, 0):,}" for counts in by_class.values())) for name in classes]
    totals = (sum(counts.values()) if isinstance(counts, Mapping) else counts for counts in samples.values())
    rows.append(("all", *(f"{total:,}" for total in totals)))
    return _table(("class", *samples) if classes else ("", *samples), rows)


def _skipped(files: Sequence[str]) -> str:
    if not files:
        return ""
    rows = [(name,) for name in files[:_MAX_SKIPPED]]
    noun = "sample" if len(files) == 1 else "samples"
    return _section(f"{len(files):,} unreadable {noun} left out", _table(("file",), rows))


def _settings_table(values: Mapping[str, Any]) -> str:
    return _table(("name", "value"), list(_flattened(values)), numbers=False)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: bool = True) -> str:
    """A table whose first column names its rows; with ``numbers`` the others are set to the right."""
    if not rows:
        return "<p>none</p>"
    lines = [_row("th", header, numbers), *(_row("td", row, numbers) for row in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _row(tag: str, cells: Sequence[object], numbers: bool) -> str:
    kinds = ["", *[' class="number"' if numbers else ""] * (len(cells) - 1)]
    return f"<tr>{''.join(f'<{tag}{kind}>{_text(cell)}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"


def _section(title: str, content: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{content}"


def _without(values: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted name, value)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
