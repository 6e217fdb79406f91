"""What a model said of each sample, as a CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.output.storage import replacing

HEADER = ("sample", "label", "predicted", "confidence", "correct")

Integers = npt.NDArray[np.int64] | Sequence[int]
Floats = npt.NDArray[np.float64] | Sequence[float]


def write_predictions(
    path: Path,
    names: Sequence[str],
    labels: Integers | None,
    predicted: Integers,
    confidence: Floats,
    class_names: Sequence[str],
) -> None:
    """Write a line a sample, in the given order.

    Args:
        path: CSV to write.
        names: What each sample is called [N].
        labels: True classes [N]; None where they are not known, which leaves ``label`` and ``correct`` empty.
        predicted: Predicted classes [N].
        confidence: Probability of each predicted class, 0 to 1 [N].
        class_names: Names of the classes in label order.
    """
    truth: Sequence[int | None] = [None] * len(names) if labels is None else [int(label) for label in labels]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, label, guess, probability in zip(names, truth, predicted, confidence, strict=True):
            known = ("", "") if label is None else (class_names[label], str(label == guess).lower())
            writer.writerow((name, known[0], class_names[int(guess)], f"{probability:.6f}", known[1]))
