"""Cross-validation: one training after the other, each in a folder of its own, and what they say together.

What is finished stays: an attempt goes on inside the fold in which the one before it ended.
"""

import json
import logging
import statistics
from pathlib import Path
from typing import Any

from trainer.config import RunFile
from trainer.config.contract import FOLDS_DIR, RUN_FILE, SUMMARY_FILE
from trainer.engine.training import RankTask, Training
from trainer.output.attempts import check_not_superseded
from trainer.output.report import write_report
from trainer.output.results import FoldPlace, is_complete
from trainer.output.storage import make_directory, write_json
from trainer.runtime.distributed import Ranks
from trainer.tasks.base import Folds

log = logging.getLogger(__name__)


def cross_validate(job: RankTask, ranks: Ranks, folds: Folds) -> None:
    """Train and test every fold that is not done, then write the results of all of them.

    All ranks call it and return once rank 0 has written everything.
    """
    if ranks.is_first:
        check_not_superseded(job.folder, job.attempt)
        folds.write_splits(job.folder)
    for number in range(folds.count):
        folder = job.folder / FOLDS_DIR / str(number)
        if ranks.from_first(int(ranks.is_first and is_complete(job.run, folder))):
            continue
        if ranks.is_first:
            log.info("fold %d of %d", number + 1, folds.count)
            _begin(job, folder, number)
        place = FoldPlace(number=number, count=folds.count)
        Training(job, ranks, folds.task(number), folder=folder, fold=place).train_and_finish()
    if ranks.is_first:
        _finish(job, folds)
    ranks.barrier()


def _begin(job: RankTask, folder: Path, number: int) -> None:
    """The fold's own run.json; its summary of fewer epochs, if any, is no longer true."""
    (make_directory(folder) / SUMMARY_FILE).unlink(missing_ok=True)
    run = json.loads((job.folder / RUN_FILE).read_text())
    write_json(folder / RUN_FILE, {**run, "fold": number})


def _finish(job: RankTask, folds: Folds) -> None:
    check_not_superseded(job.folder, job.attempt)
    paths = [job.folder / FOLDS_DIR / str(number) / SUMMARY_FILE for number in range(folds.count)]
    summaries = [json.loads(path.read_text()) for path in paths]
    summary = {**_summary(job.run, summaries), **folds.summary(summaries)}
    folds.write(job.folder, summary)
    write_report(job.folder, json.loads((job.folder / RUN_FILE).read_text()), summary)
    write_json(job.folder / SUMMARY_FILE, summary)


def _summary(run: RunFile, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    together = metrics_of_folds([summary["metrics"] for summary in summaries])
    return {
        "schemaVersion": 1,
        "job": run.job,
        "namespace": run.namespace,
        "digest": run.digest,
        "epochs": run.train.epochs,
        "epochs_done": max(summary["epochs_done"] for summary in summaries),
        "steps": sum(summary["steps"] for summary in summaries),
        "parameters": summaries[0]["parameters"],
        "metrics": {"split": "cross-validation", **together["mean"]},
        "folds": {"count": len(summaries), **together},
    }


def metrics_of_folds(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Each fold's final metrics with their mean and their sample standard deviation (n - 1) over the folds.

    A metric that some fold could not tell, such as the area under the curve of an absent class, is left out of both.
    """
    rows = [{name: value for name, value in fold.items() if name != "split"} for fold in metrics]
    names = [name for name in rows[0] if all(isinstance(row.get(name), int | float) for row in rows)]
    return {
        "metrics": [{"fold": number, **row} for number, row in enumerate(rows)],
        "mean": {name: statistics.fmean(row[name] for row in rows) for name in names},
        "std": {name: statistics.stdev(row[name] for row in rows) for name in names},
    }
