"""What a trained classifier leaves in the results folder."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainer.config.contract import EVALUATION_FILE, EXPORTS_DIR, PLOTS_DIR, PREDICTIONS_DIR
from trainer.data.images import ImageSplits
from trainer.metrics import Counts, classification_text
from trainer.output.export import export_classifier
from trainer.output.plots import classifier_plots, learning_curves
from trainer.output.predictions import write_predictions
from trainer.output.storage import make_directory, replacing, write_text
from trainer.output.worst import Verdict, worst_positions, write_worst
from trainer.tasks.base import Evaluation, TaskResults
from trainer.tasks.classification_evaluator import Predictions
from trainer.tasks.classification_metrics import ClassificationMetrics


@dataclass(frozen=True, eq=False)
class ClassificationResults(TaskResults):
    """The test split's numbers and predictions, and the files that are made of them."""

    evaluation: Evaluation
    """With all final metrics."""
    metrics: ClassificationMetrics
    confusion: Counts
    predictions: Predictions
    splits: ImageSplits
    network: nn.Module
    """From stored images, uint8 [B, C, H, W], to logits."""

    def summary(self) -> dict[str, Any]:
        """Samples, classes, the classification report, confidence intervals and the confusion matrix."""
        splits = self.splits
        intervals = self._intervals
        return {
            **({"intervals": intervals} if intervals else {}),
            "samples": splits.counts(),
            "classes": list(splits.classes),
            "normalization": {"mean": list(splits.mean), "std": list(splits.std)},
            "report": self.metrics.report,
            "confusion": self.confusion.tolist(),
            "skipped_samples": list(splits.skipped),
        }

    @cached_property
    def _intervals(self) -> dict[str, Any] | None:
        return self.metrics.intervals()

    def write(self, folder: Path, metrics: list[dict[str, Any]]) -> dict[str, Any]:
        """Predictions, the report as text, curves, plots of the evaluation, and the exported network."""
        evaluation = self.metrics.evaluation()
        # In one line: with a line a number, the curves of many classes would be megabytes of spaces.
        write_text(folder / EVALUATION_FILE, json.dumps(evaluation, allow_nan=False) + "\n")
        write_text(folder / "classification_report.txt", classification_text(self.metrics.report))
        predictions = make_directory(folder / PREDICTIONS_DIR)
        self._write_predictions(predictions / "test.csv")
        self._write_probabilities(predictions / "test_probabilities.npy")
        self._write_worst(folder)
        plots = make_directory(folder / PLOTS_DIR)
        learning_curves(metrics, plots / "learning_curves.png")
        classifier_plots(plots, self.summary(), evaluation)
        exports = make_directory(folder / EXPORTS_DIR)
        return {"export": export_classifier(exports, self.network, self.splits.test.images.shape)}

    def _write_probabilities(self, path: Path) -> None:
        """The rows are those of test.csv; anybody can compute the metrics again from both."""
        if self.predictions.probabilities is None:
            path.unlink(missing_ok=True)  # of fewer epochs, when there were any
            return
        with replacing(path) as temporary:
            np.save(temporary, self.predictions.probabilities.numpy(), allow_pickle=False)

    def _write_worst(self, folder: Path) -> None:
        test, classes, said = self.splits.test, self.splits.classes, self.predictions
        positions = worst_positions(said.loss)
        images, labels, _ = test.batch(positions)
        columns = (column[positions].tolist() for column in (said.predicted, said.confidence, said.loss))
        verdicts = [
            Verdict(name, classes[label], classes[guess], confidence, loss)
            for name, label, guess, confidence, loss in zip(
                test.names(positions), labels.tolist(), *columns, strict=True
            )
        ]
        write_worst(folder, images, verdicts)

    def _write_predictions(self, path: Path) -> None:
        test, classes = self.splits.test, self.splits.classes
        write_predictions(
            path,
            names=test.names(torch.arange(len(test))),
            labels=[classes[label] for label in test.labels.tolist()],
            predicted=[classes[label] for label in self.predictions.predicted.tolist()],
            confidence=self.predictions.confidence.tolist(),
        )
