"""What a trained classifier leaves in the results folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.config.contract import EXPORTS_DIR, PLOTS_DIR, PREDICTIONS_DIR
from trainer.data.images import ImageSplits
from trainer.metrics import Counts, classification_summary, classification_text
from trainer.output.export import export_classifier
from trainer.output.plots import confusion_matrix, learning_curves
from trainer.output.predictions import write_predictions
from trainer.output.storage import make_directory, write_text
from trainer.tasks.base import Evaluation, TaskResults
from trainer.tasks.classification_evaluator import Predictions


@dataclass(frozen=True, eq=False)
class ClassificationResults(TaskResults):
    """The test split's confusion and predictions, and the files that are made of them."""

    evaluation: Evaluation
    confusion: Counts
    predictions: Predictions
    splits: ImageSplits
    network: nn.Module
    """From stored images, uint8 [B, C, H, W], to logits."""

    @cached_property
    def report(self) -> dict[str, Any]:
        """Precision, recall and F1 by class, and their averages."""
        return classification_summary(self.confusion, self.splits.classes)

    def summary(self) -> dict[str, Any]:
        """Samples, classes, the classification report and the confusion matrix."""
        splits = self.splits
        return {
            "samples": splits.counts(),
            "classes": list(splits.classes),
            "normalization": {"mean": list(splits.mean), "std": list(splits.std)},
            "report": self.report,
            "confusion": self.confusion.tolist(),
            "skipped_samples": list(splits.skipped),
        }

    def write(self, folder: Path, metrics: list[dict[str, Any]]) -> dict[str, Any]:
        """Predictions, the report as text, curves, the confusion matrix, and the exported network."""
        write_text(folder / "classification_report.txt", classification_text(self.report))
        self._write_predictions(make_directory(folder / PREDICTIONS_DIR) / "test.csv")
        plots = make_directory(folder / PLOTS_DIR)
        learning_curves(metrics, plots / "learning_curves.png")
        confusion_matrix(self.confusion, self.splits.classes, plots / "confusion_matrix.png")
        exports = make_directory(folder / EXPORTS_DIR)
        return {"export": export_classifier(exports, self.network, self.splits.test.images.shape)}

    def _write_predictions(self, path: Path) -> None:
        test, classes = self.splits.test, self.splits.classes
        write_predictions(
            path,
            names=test.names(torch.arange(len(test))),
            labels=[classes[label] for label in test.labels.tolist()],
            predicted=[classes[label] for label in self.predictions.predicted.tolist()],
            confidence=self.predictions.confidence.tolist(),
        )
