"""The end of a run: the last evaluation and everything that is made of it. ``summary.json`` comes last."""

import json
from pathlib import Path
from typing import Any

from trainer.config import RunFile
from trainer.config.contract import RUN_FILE, SUMMARY_FILE
from trainer.engine.loop import selected_by
from trainer.engine.state import TrainState
from trainer.engine.step import parameter_count
from trainer.output.attempts import check_not_superseded
from trainer.output.checkpoint import Checkpointer
from trainer.output.report import write_report
from trainer.output.results import FoldPlace, read_metrics
from trainer.output.storage import write_json
from trainer.runtime.distributed import Ranks
from trainer.tasks.base import Task, TaskResults


def finish(
    run: RunFile,
    *,
    job_folder: Path,
    folder: Path,
    attempt: int,
    fold: FoldPlace | None,
    state: TrainState,
    task: Task,
    checkpointer: Checkpointer,
    ranks: Ranks,
) -> None:
    """Evaluate the test split once more, keep what was said of each sample, and write the results.

    With a validation split the best checkpoint is evaluated, else the last: nothing is selected on the test split.
    All ranks call it and return once rank 0 has written everything.

    Args:
        run: The job.
        job_folder: Its results folder.
        folder: Where the files land: the same, or the folder of a fold.
        attempt: Number of this attempt; nothing is written once there is a newer one.
        fold: Which fold of cross-validation this is, if it is one.
        state: The trained network and where the run stands.
        task: What was trained.
        checkpointer: Where the best checkpoint is.
        ranks: The group.
    """
    progress = state.progress
    if task.has_validation and progress.best_step not in (None, progress.step):
        state.model.load_state_dict(checkpointer.load(progress.best_step or 0).tensors["model"])
    results = task.test()
    if ranks.is_first and results:
        check_not_superseded(job_folder, attempt)
        place = {"fold": fold.number} if fold else {}
        summary = {**_summary(run, state, task, results), **place, **results.write(folder, read_metrics(folder))}
        write_report(folder, json.loads((folder / RUN_FILE).read_text()), summary)
        write_json(folder / SUMMARY_FILE, summary)
    ranks.barrier()


def _summary(run: RunFile, state: TrainState, task: Task, results: TaskResults) -> dict[str, Any]:
    progress = state.progress
    return {
        "schemaVersion": 1,
        "job": run.job,
        "namespace": run.namespace,
        "digest": run.digest,
        "epochs": run.train.epochs,
        "epochs_done": progress.epochs_closed,
        "steps": progress.step,
        "parameters": parameter_count(state.model.parameters()),
        **({"code": {name: source.model_dump() for name, source in task.code.items()}} if task.code else {}),
        "checkpoint": {
            "step": progress.best_step if task.has_validation else progress.step,
            "selected_by": selected_by(task),
            f"validation_{task.selection.score}": progress.best_value,
        },
        "metrics": {"split": "test", "loss": results.evaluation.loss, **results.evaluation.scores},
        **results.summary(),
    }
