"""Pictures of a run as PNG files, drawn through matplotlib's objects: no global pyplot state, no display."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.output.plots.calibration import reliability_diagram
from trainer.output.plots.class_curves import precision_recall_curves, roc_curves
from trainer.output.plots.class_scores import class_scores
from trainer.output.plots.confusion import confusion_matrix
from trainer.output.plots.curves import RunCurves, learning_curves, overlaid_curves, smoothed

__all__ = [
    "RunCurves",
    "class_scores",
    "classifier_plots",
    "confusion_matrix",
    "learning_curves",
    "overlaid_curves",
    "precision_recall_curves",
    "reliability_diagram",
    "roc_curves",
    "smoothed",
]


def classifier_plots(folder: Path, summary: Mapping[str, Any], evaluation: Mapping[str, Any] | None = None) -> None:
    """Draw what a classifier's last evaluation says.

    Args:
        folder: Where the PNGs go.
        summary: With summary.json's ``classes``, ``confusion`` and ``report``.
        evaluation: Content of evaluation.json; the pictures of what it lacks are left out.
    """
    confusion = np.array(summary["confusion"], dtype=np.int64)
    confusion_matrix(confusion, summary["classes"], folder / "confusion_matrix.png")
    class_scores(summary["report"]["classes"], folder / "class_scores.png")
    evaluation = evaluation or {}
    if "roc" in evaluation:
        roc_curves(evaluation["roc"]["classes"], folder / "roc_curves.png")
    if "precision_recall" in evaluation:
        precision_recall_curves(evaluation["precision_recall"]["classes"], folder / "precision_recall_curves.png")
    if "calibration" in evaluation:
        reliability_diagram(evaluation["calibration"], folder / "calibration.png")
