"""The numbers of a run as they come: metrics.jsonl, timing.jsonl, TensorBoard, the progress line. Rank 0 writes."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import CommandFile, RunFile
from trainer.config.contract import METRICS_FILE, PROGRESS_TAG, RUN_FILE, SUMMARY_FILE, TENSORBOARD_DIR, TIMING_FILE
from trainer.exits import Exit
from trainer.output.attempts import newest_end, now
from trainer.output.storage import storage_errors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class FoldPlace:
    """Which of the folds of a cross-validation is being trained."""

    number: int
    """From 0."""
    count: int
    """How many folds there are."""


class RunWriter:
    """Writes what happens while training.

    metrics.jsonl holds nothing that depends on the clock and is cut to the checkpoint's length on resume, so it is
    byte-equal after any number of restarts. Everything timed goes to timing.jsonl.
    """

    def __init__(
        self,
        folder: Path,
        *,
        attempt: int,
        metrics_bytes: int,
        step: int,
        batch_size: int,
        progress_seconds: float,
        stdout: int,
        fold: FoldPlace | None = None,
    ) -> None:
        self._metrics_path = folder / METRICS_FILE
        with storage_errors(self._metrics_path):
            self._metrics = self._metrics_path.open("ab")
            # Never longer than it is: truncate() would fill a file that somebody shortened with zeros.
            self._metrics.truncate(min(metrics_bytes, self._metrics.tell()))
            self._timing = (folder / TIMING_FILE).open("a", encoding="utf-8")
        self._tensorboard = _tensorboard(folder / TENSORBOARD_DIR, purge_step=step + 1)
        self._attempt = attempt
        self._batch_size = batch_size
        self._progress_seconds = progress_seconds
        self._stdout = stdout
        self._fold = fold
        self._last_progress = -math.inf
        self._window_start, self._window_step = time.monotonic(), step
        self._rate = 0.0

    def close(self) -> None:
        """Flush and close the files."""
        self._metrics.close()
        self._timing.close()
        self._tensorboard.close()

    def metrics_bytes(self) -> int:
        """Length of metrics.jsonl, everything before it on disk: what a checkpoint remembers."""
        self._tensorboard.flush()  # what is resumed from the checkpoint begins after it there too
        with storage_errors(self._metrics_path):
            self._metrics.flush()
            os.fsync(self._metrics.fileno())
            return self._metrics.tell()

    def write_step(self, *, step: int, epoch: int, loss: float, lr: float, grad_norm: float) -> None:
        """A line for the window of steps that ends with ``step``."""
        norm = grad_norm if math.isfinite(grad_norm) else None  # an fp16 step that the scaler skipped
        self._write({"kind": "step", "step": step, "epoch": epoch, "loss": loss, "lr": lr, "grad_norm": norm})
        seconds, samples = time.monotonic() - self._window_start, (step - self._window_step) * self._batch_size
        self._window_start, self._window_step = time.monotonic(), step
        self._rate = samples / seconds if seconds > 0 else 0.0
        timing = {"time": now(), "step": step, "seconds": round(seconds, 6), "samples_per_second": round(self._rate, 1)}
        with storage_errors(self._metrics_path):
            self._timing.write(json.dumps(timing) + "\n")
            self._timing.flush()
        self._scalars(step, {"train/loss": loss, "train/lr": lr, "train/grad_norm": grad_norm})
        self._scalars(step, {"timing/samples_per_second": self._rate})

    def write_epoch(self, *, step: int, epoch: int, train_loss: float, split: str, scores: dict[str, float]) -> None:
        """A line for an evaluated epoch."""
        self._write({"kind": "epoch", "step": step, "epoch": epoch, "train_loss": train_loss, "split": split, **scores})
        self._scalars(step, {f"{split}/{name}": value for name, value in scores.items()})

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """Leave what happens inside (evaluation, saving) out of the training rate."""
        begun = time.monotonic()
        yield
        self._window_start += time.monotonic() - begun

    def show_progress(self, *, step: int, steps: int, epoch: int, epochs: int, loss: float | None) -> None:
        """Print the tagged progress line, unless one was printed a moment ago."""
        if time.monotonic() - self._last_progress < self._progress_seconds and step < steps:
            return
        self._last_progress = time.monotonic()
        later = (self._fold.count - 1 - self._fold.number) * steps if self._fold else 0
        line: dict[str, Any] = {
            "attempt": self._attempt,
            "step": step,
            "steps": steps,
            "epoch": epoch,
            "epochs": epochs,
            "loss": loss,
            "samples_per_second": round(self._rate, 1),
            "eta_seconds": round((steps - step + later) * self._batch_size / self._rate, 1) if self._rate else None,
        }
        if self._fold:
            line |= {"fold": self._fold.number + 1, "folds": self._fold.count}
        os.write(self._stdout, f"{PROGRESS_TAG} {json.dumps(line)}\n".encode())

    def _write(self, line: dict[str, Any]) -> None:
        with storage_errors(self._metrics_path):
            self._metrics.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._metrics.flush()

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)


def _tensorboard(folder: Path, *, purge_step: int) -> "SummaryWriter":
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=purge_step)


def is_complete(run: RunFile | CommandFile, folder: Path) -> bool:
    """Whether this very job has already succeeded, with at least as many epochs.

    A script of the user's own may write its summary before it fails, so for that the attempt's end counts too.
    """
    try:
        summary = (folder / SUMMARY_FILE).read_text()
        if isinstance(run, CommandFile):
            of_this_job = json.loads((folder / RUN_FILE).read_text())["digest"] == run.digest
            return bool(of_this_job and newest_end(folder) == Exit.DONE)
    except FileNotFoundError:
        return False
    known = json.loads(summary)
    return bool(known["digest"] == run.digest and known["epochs"] >= run.train.epochs)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
