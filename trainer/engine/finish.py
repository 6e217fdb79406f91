"""The end of a run: the last evaluation and everything that is made of it. ``summary.json`` comes last."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from trainer.config import RunFile
from trainer.config.contract import (
    EXPORTS_DIR,
    PLOTS_DIR,
    PREDICTIONS_DIR,
    RUN_FILE,
    SUMMARY_FILE,
)
from trainer.data.images import ImageSplits
from trainer.data.preprocess import Preprocess
from trainer.engine.evaluate import Evaluation, Evaluator, Predictions
from trainer.engine.state import TrainState
from trainer.engine.step import parameter_count
from trainer.metrics import classification_summary, classification_text
from trainer.output.attempts import check_not_superseded
from trainer.output.checkpoint import Checkpointer
from trainer.output.export import export_classifier
from trainer.output.plots import confusion_matrix, learning_curves
from trainer.output.predictions import write_predictions
from trainer.output.report import write_report
from trainer.output.results import read_metrics
from trainer.output.storage import make_directory, write_json, write_text
from trainer.runtime.distributed import Ranks

log = logging.getLogger(__name__)


def finish(
    run: RunFile,
    *,
    folder: Path,
    attempt: int,
    state: TrainState,
    splits: ImageSplits,
    evaluator: Evaluator,
    checkpointer: Checkpointer,
    preprocess: Preprocess,
    ranks: Ranks,
) -> None:
    """Evaluate the test split once more, keep each sample's prediction, and write the results.

    With a validation split the best checkpoint is evaluated, else the last: nothing is selected on the test split.
    All ranks call it and return once rank 0 has written everything.
    """
    progress = state.progress
    if splits.validation and progress.best_step not in (None, progress.step):
        state.model.load_state_dict(checkpointer.load(progress.best_step or 0).tensors["model"])
    evaluation, predictions = evaluator.with_predictions(splits.test)
    if ranks.is_first:
        check_not_superseded(folder, attempt)
        summary = _summary(run, state, splits, evaluation)
        _write_predictions(folder, splits, predictions)
        write_text(folder / "classification_report.txt", classification_text(summary["report"]))
        _draw(folder, splits, evaluation)
        summary["export"] = export_classifier(
            make_directory(folder / EXPORTS_DIR),
            preprocess=preprocess,
            model=state.model,
            input_shape=splits.test.images.shape,
        )
        write_report(folder, json.loads((folder / RUN_FILE).read_text()), summary, summary["report"])
        write_json(folder / SUMMARY_FILE, summary)
    ranks.barrier()


def _summary(run: RunFile, state: TrainState, splits: ImageSplits, evaluation: Evaluation) -> dict[str, Any]:
    report = classification_summary(evaluation.confusion, splits.classes)
    progress = state.progress
    selected = splits.validation is not None
    return {
        "schemaVersion": 1,
        "job": run.job,
        "namespace": run.namespace,
        "digest": run.digest,
        "epochs": run.train.epochs,
        "steps": progress.step,
        "samples": splits.counts(),
        "classes": list(splits.classes),
        "parameters": parameter_count(state.model.parameters()),
        "normalization": {"mean": list(splits.mean), "std": list(splits.std)},
        "checkpoint": {
            "step": progress.best_step if selected else progress.step,
            "selected_by": "validation accuracy" if selected else "last epoch",
            "validation_accuracy": progress.best_value,
        },
        "metrics": {
            "split": "test",
            "loss": evaluation.loss,
            "accuracy": evaluation.accuracy,
            "macro_f1": report["macro"]["f1"],
        },
        "report": report,
        "confusion": evaluation.confusion.tolist(),
        "skipped_samples": list(splits.skipped),
    }


def _write_predictions(folder: Path, splits: ImageSplits, predictions: Predictions) -> None:
    test = splits.test
    write_predictions(
        make_directory(folder / PREDICTIONS_DIR) / "test.csv",
        names=test.names(torch.arange(len(test))),
        labels=test.labels.numpy(),
        predicted=predictions.predicted.numpy(),
        confidence=predictions.confidence.numpy(),
        class_names=splits.classes,
    )


def _draw(folder: Path, splits: ImageSplits, evaluation: Evaluation) -> None:
    plots = make_directory(folder / PLOTS_DIR)
    learning_curves(read_metrics(folder), plots / "learning_curves.png")
    confusion_matrix(evaluation.confusion, splits.classes, plots / "confusion_matrix.png")
