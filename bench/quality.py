"""What the shipped examples reach, trained through ``launcher submit`` on two ranks, as a table.

python bench/quality.py                # every row: hours on two cores
python bench/quality.py C3 C11         # these rows
python bench/quality.py --table        # the table of what is known, without training
python bench/quality.py C8 --set train.epochs=1 --results-dir /tmp/try    # a try, which is not recorded

Rows are in quality_rows.py, results in quality.json. It can be interrupted and started again at any time: a job that is
done is not trained again, one that is running is waited for, one that stopped goes on from its last checkpoint. Once an
example has changed, older results are those of another run, and the launcher says so: --fresh sets them aside.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from quality_rows import ROWS, Row, Run, Source, Summary

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
RECORD = Path(__file__).with_suffix(".json")
RANKS = 2
COLUMNS = ("row", "example", "data", "epochs", "runs", "s a run", "reached", "bar", "", "published")


class Stopped(Exception):
    """A job did not succeed; the launcher has said why."""


@dataclass(frozen=True)
class Finished:
    """A run that has succeeded."""

    run: Run
    summary: Summary
    seconds: float
    """Time that its ranks ran, over all attempts."""
    ended: datetime


def main() -> int:
    options = arguments()
    rows = [row for row in ROWS if not options.rows or row.id in options.rows]
    tried, stopped = [], False
    for row in [] if options.table else rows:
        if missing := [hint for source in row.sources if (hint := prepare(source))]:
            say(f"{row.id}: skipped; {'; '.join(missing)}")
            continue
        try:
            entry = measure(row, options)
        except Stopped as error:
            say(f"{row.id}: {error}")
            stopped = True
            continue
        tried.append(entry)
        if not options.settings:
            record(entry)
    print(table(tried if options.settings else recorded()))
    return int(stopped)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [row.id for row in ROWS]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(known)} (default: all)")
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    parser.add_argument("--results-dir", type=Path, default=ROOT / "results" / "quality", help="(default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="set earlier results of these rows aside")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as in submit")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in known]:
        parser.error(f"unknown row {unknown[0]} (rows: {', '.join(known)})")
    return options


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def prepare(source: Source) -> str | None:
    """Have ``source`` in its place, or say what to install."""
    path = source.path.expanduser()
    if path.exists():
        return None
    if source.script and source.module and importlib.util.find_spec(source.module):
        subprocess.run([sys.executable, str(Path(__file__).with_name(source.script)), str(path)], check=True)
        return None
    return f"{path} is missing: {source.install}"


def measure(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Train what is left to train of ``row``; its entry in the record."""
    finished = [train(row, run, options) for run in row.runs()]
    arms = {arm: [done.summary for done in finished if done.run.arm == arm] for arm in row.arms}
    measured = row.measure(arms)
    epochs = max(int(done.summary["epochs_done"]) for done in finished)
    seconds = [round(done.seconds) for done in finished]
    return {
        "row": row.id,
        "example": f"{row.example}.yaml",
        "data": row.data,
        "ranks": RANKS,
        "epochs": epochs,
        "runs": len(finished),
        "seconds": sum(seconds),
        "slowest_run_seconds": max(seconds),
        "metrics": measured.metrics,
        "values": measured.values,
        "bar": row.bar(),
        "reached": row.reached(measured.metrics, epochs=epochs, slowest_seconds=max(seconds)),
        "published": row.published,
        "seeds": list(row.seeds),
        "hardware": hardware(),
        "date": max(done.ended for done in finished).date().isoformat(),
    }


def train(row: Row, run: Run, options: argparse.Namespace) -> Finished:
    """Submit ``run``, or go on with it, and wait for its end; its progress appears on stderr.

    Raises:
        Stopped: It failed, or was suspended or cancelled.
    """
    overrides = [text for setting in (*run.settings, *options.settings) for text in ("--set", setting)]
    results = options.results_dir.absolute()
    command = [sys.executable, "-P", "-m", "launcher", "submit", f"examples/{row.example}.yaml", "--name", run.name]
    place = ["--backend", "local", "--gpus", str(RANKS), "--results-dir", str(results)]
    fresh = ["--fresh"] if options.fresh else []
    code = subprocess.run([*command, *place, "--follow", *fresh, *overrides], stdout=sys.stderr, cwd=ROOT).returncode
    if code:
        raise Stopped(f"{run.name} was left: the launcher ended with {code}")
    folder = results / "local" / run.name
    times = attempt_times(folder)
    seconds = sum((end - begun).total_seconds() for begun, end in times)
    return Finished(run, json.loads((folder / "summary.json").read_text()), seconds, ended=times[-1][1])


def attempt_times(folder: Path) -> list[tuple[datetime, datetime]]:
    """When each attempt began and ended; one whose supervisor was killed lasted to its last line of timing.jsonl."""
    records = [json.loads(path.read_text()) for path in sorted((folder / "attempts").glob("*.json"))]
    begun = [datetime.fromisoformat(attempt["started"]) for attempt in records]
    lines = (folder / "timing.jsonl").read_text().splitlines()
    written = [datetime.fromisoformat(json.loads(line)["time"]) for line in lines]
    ended = [
        datetime.fromisoformat(attempt["end"]["ended"])
        if attempt["end"]
        else max((time for time in written if start <= time < following), default=start)
        for attempt, start, following in zip(records, begun, [*begun[1:], datetime.now(UTC)], strict=True)
    ]
    return list(zip(begun, ended, strict=True))


@cache
def hardware() -> dict[str, Any]:
    """What the runs had, which train on this machine."""
    command = [sys.executable, "-P", "-m", "trainer", "check"]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "gpus": facts["cuda_devices"],
        "torch": facts["versions"]["torch"],
    }


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def recorded() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(RECORD.read_text()) if RECORD.exists() else []
    return entries


def record(entry: dict[str, Any]) -> None:
    """Put ``entry`` in the place of its row's older one."""
    entries = {**{old["row"]: old for old in recorded()}, entry["row"]: entry}
    kept = [entries[row.id] for row in ROWS if row.id in entries]
    RECORD.write_text(json.dumps(kept, indent=2) + "\n")


def table(entries: Sequence[dict[str, Any]]) -> str:
    """``entries`` in Markdown."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(cells(entry) for entry in entries)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(entry: dict[str, Any]) -> tuple[str, ...]:
    reached = {True: "yes", False: "**no**", None: "-"}[entry["reached"]]
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in entry["metrics"].items())
    counts = (str(entry["epochs"]), str(entry["runs"]), f"{entry['seconds'] / entry['runs']:.0f}")
    return (entry["row"], entry["example"], entry["data"], *counts, numbers, entry["bar"], reached, entry["published"])


if __name__ == "__main__":
    sys.exit(main())
