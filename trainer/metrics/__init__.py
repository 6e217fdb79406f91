"""Metrics of classification, each a function of counts wherever counts decide.

Plain numpy, not scikit-learn (which the tests compare with): ranks add counts up exactly, whole numbers do not depend
on the order of the samples or the number of ranks, and a class without samples is None here, not a warning and a NaN.
torchmetrics would be a dependency for what is left. What stands where:

- ``confusion``: accuracy, precision, recall, F1, and their averages
- ``top_k``: top-k accuracy
- ``thresholds``, ``ranking``: ROC, precision over recall, and their areas
- ``histogram``: the area under the ROC curve from binned scores, with a bound of its error
- ``calibration``: reliability bins and calibration error
- ``bootstrap``, ``bootstrap_areas``: confidence intervals of all of them
"""

from trainer.metrics.confusion import (
    ClassScores,
    Counts,
    Scores,
    accuracy,
    class_scores,
    classification_summary,
    classification_text,
    confusion_counts,
    macro_average,
    micro_average,
    weighted_average,
)

__all__ = [
    "ClassScores",
    "Counts",
    "Scores",
    "accuracy",
    "class_scores",
    "classification_summary",
    "classification_text",
    "confusion_counts",
    "macro_average",
    "micro_average",
    "weighted_average",
]
