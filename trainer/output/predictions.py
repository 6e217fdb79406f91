"""What a model said of each sample, as a CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path

from trainer.output.storage import replacing

HEADER = ("sample", "label", "predicted", "confidence", "correct")


def write_predictions(
    path: Path,
    *,
    names: Sequence[str],
    labels: Sequence[str | None],
    predicted: Sequence[str],
    confidence: Sequence[float],
) -> None:
    """Write a line a sample, in the given order.

    Args:
        path: CSV to write.
        names: What each sample is called [N].
        labels: What is true of each [N]; None where it is not known, which leaves ``label`` and ``correct`` empty.
        predicted: What was predicted [N].
        confidence: Probability of each prediction, 0 to 1 [N].
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, label, guess, probability in zip(names, labels, predicted, confidence, strict=True):
            known = ("", "") if label is None else (label, str(label == guess).lower())
            writer.writerow((name, known[0], guess, f"{probability:.6f}", known[1]))
