"""The results folder of a script of the user's own: what counts as its progress, and the summary that ends it."""

import json
import logging
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.config import CommandFile
from trainer.config.contract import CHECKPOINTS_DIR, METRICS_FILE, SUMMARY_FILE
from trainer.exits import Exit
from trainer.output.storage import write_json

# What metrics.jsonl says beside metrics: the summary has places of its own for it.
_NO_METRICS = ("kind", "step", "epoch")
# The end of metrics.jsonl that is read for its last line (bytes).
_TAIL = 1 << 20

log = logging.getLogger(__name__)


def newest_checkpoint(folder: Path) -> str | None:
    """The file below ``checkpoints/`` that was written last, with the time of that; None without one.

    Hidden files and folders, such as .tmp-step-5, do not count: they are not complete yet.
    """
    root = folder / CHECKPOINTS_DIR
    newest = max(((_written(path), str(path.relative_to(root))) for path in _files(root)), default=None)
    if newest is None:
        return None
    time = datetime.fromtimestamp(newest[0] / 1e9, UTC).isoformat(timespec="microseconds")
    return f"{newest[1]} of {time}"


def _files(root: Path) -> list[Path]:
    found = []
    for here, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in files if not name.startswith(".")]
    return found


def _written(path: Path) -> int:
    """Nanoseconds since the epoch; 0 for a file that has gone meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def write_summary(run: CommandFile, folder: Path, *, attempt: int) -> None:
    """Write ``summary.json``, which says that the job is done, unless the script wrote it.

    Its metrics are those of the last line of metrics.jsonl, where the script wrote one.
    """
    path = folder / SUMMARY_FILE
    if path.exists():
        if _object(path.read_bytes()) is not None:
            return
        log.warning("the script's %s is no JSON object: it is replaced", SUMMARY_FILE)
    line = _last_metrics(folder / METRICS_FILE)
    summary = {
        "schemaVersion": 1,
        "job": run.job,
        "namespace": run.namespace,
        "digest": run.digest,
        "attempts": attempt,
        "exit_code": Exit.DONE,
        "epochs": line.get("epoch"),
        "steps": line.get("step"),
        "metrics": {name: value for name, value in line.items() if name not in _NO_METRICS},
    }
    write_json(path, {name: value for name, value in summary.items() if value is not None})


def _last_metrics(path: Path) -> Mapping[str, Any]:
    """The numbers and texts of the last whole line that is a JSON object; what is not finite is left out."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    found = next((value for line in reversed(lines) if (value := _object(line)) is not None), {})
    return {name: value for name, value in found.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
