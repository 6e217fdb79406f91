"""What a results folder holds for its report."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.contract import ATTEMPTS_DIR, FOLDS_DIR, METRICS_FILE, RUN_FILE, SUMMARY_FILE
from trainer.exits import StorageError

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class ResultsFolder:
    """A run as its files tell it; what is not there is empty."""

    path: Path
    run: Facts
    """run.json."""
    summary: Facts
    """summary.json; only a run that succeeded has one."""

    @property
    def job(self) -> str:
        """Name of the job."""
        return str(self.run.get("job") or self.summary.get("job") or self.path.name)

    @property
    def title(self) -> str:
        """Name of the job, and which fold of its cross-validation this is."""
        return f"{self.job}, fold {self.run['fold']}" if "fold" in self.run else self.job

    @property
    def config(self) -> Facts:
        """The training configuration; empty for a script of the user's own."""
        return _mapping(self.run.get("train"))

    @property
    def task(self) -> str:
        """What kind of problem it is."""
        return str(self.config.get("task") or "command")

    @property
    def told(self) -> Facts:
        """The summary where the trainer wrote it; a script's own may hold anything under any name but ``metrics``."""
        return {} if "command" in self.run else self.summary

    @property
    def metrics(self) -> dict[str, Any]:
        """The final metrics; those of a cross-validation are means over its folds."""
        return {name: value for name, value in _mapping(self.summary.get("metrics")).items() if name != "split"}

    @property
    def folds(self) -> Facts:
        """The summary's ``folds``: count, metrics, mean and std; empty where nothing is cross-validated."""
        return _mapping(self.told.get("folds"))

    @property
    def classes(self) -> list[dict[str, Any]]:
        """The classification report's rows, one a class."""
        return list(_mapping(self.told.get("report")).get("classes", ()))

    def attempts(self) -> list[dict[str, Any]]:
        """Records of all attempts, the first one first; a fold has those of its job."""
        job = self.path.parent.parent if "fold" in self.run else self.path
        paths = sorted((job / ATTEMPTS_DIR).glob("[0-9]*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    def trainings(self) -> list[list[dict[str, Any]]]:
        """Lines of metrics.jsonl, of each fold where there are folds; empty where nothing was logged."""
        folders = [self.path, *sorted(self.path.glob(f"{FOLDS_DIR}/[0-9]*"), key=lambda path: int(path.name))]
        return [_lines(folder / METRICS_FILE) for folder in folders if (folder / METRICS_FILE).exists()]

    def interval(self, metric: str) -> Sequence[float] | None:
        """Confidence bounds of a final metric, where they were computed."""
        bounds = _mapping(self.told.get("intervals")).get(metric)
        return bounds if isinstance(bounds, list) and len(bounds) == 2 else None


def read_folder(path: Path) -> ResultsFolder:
    """Read run.json and summary.json, either of which may be missing.

    Raises:
        StorageError: Both are, or one cannot be read.
    """
    run, summary = (_read(path / name) for name in (RUN_FILE, SUMMARY_FILE))
    if not run and not summary:
        what = "it has neither run.json nor summary.json" if path.is_dir() else "there is no such folder"
        raise StorageError(f"no run in {path}: {what}; give the results folder of a job, such as results/local/digits")
    return ResultsFolder(path, run, summary)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise StorageError(f"{path}: is not JSON ({error}); was it cut short?") from error
    return value if isinstance(value, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines that tell steps and epochs; a script may write others, and need not say which kind one is."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last one, of a run that is being written
        if isinstance(row, dict) and _is_drawable(row):
            numbers = {name: value for name, value in row.items() if _is_number(value)}
            rows.append({"kind": "step", **numbers, **{name: row[name] for name in ("kind", "split") if name in row}})
    return rows


def _is_drawable(row: Facts) -> bool:
    kind, step, epoch = row.get("kind", "step"), row.get("step"), row.get("epoch")
    if not isinstance(step, int):
        return False
    return kind == "step" or (kind == "epoch" and isinstance(epoch, int) and epoch > 0 and "split" in row)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _mapping(value: object) -> Facts:
    return value if isinstance(value, Mapping) else {}
