"""What is measured once a classifier is trained."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import Config


class Metrics(Config):
    """What is measured on the test split, besides loss, accuracy, precision, recall and F1."""

    top_k: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(max_length=8)] = (5,)
    """Also count a sample as right whose class is among the k likeliest. A k that is not below the number of classes
    is left out."""
    auc: Literal["exact", "histogram"] = "exact"
    """Areas under the ROC curves from each sample's probabilities, or from histograms of them. The exact ones need
    samples x classes x 16 bytes of memory on rank 0; histograms come with a bound of their error, and without average
    precision and without an interval of the area."""
    histogram_bins: Annotated[int, Field(ge=16, le=65536)] = 2048
    """Bins of each class's histograms, evenly spaced in the logit of the probability."""
    calibration_bins: Annotated[int, Field(ge=2, le=1000)] = 15
    """Bins of equal width by confidence, for the calibration error."""
    bootstrap: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """Resamples of the test samples that confidence intervals are made of. 0: no intervals."""
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    """Share of such intervals that hold the true value."""
