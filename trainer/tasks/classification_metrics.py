"""The numbers of a tested classifier, in the form in which they land in summary.json and evaluation.json."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from trainer.config.metrics import Metrics
from trainer.metrics import Counts, Scores, classification_summary
from trainer.metrics.bootstrap import (
    percentile_interval,
    resampled_calibration_errors,
    resampled_macro_f1,
    resampled_shares,
)
from trainer.metrics.bootstrap_areas import macro_area_intervals
from trainer.metrics.calibration import (
    UNITS,
    CalibrationBins,
    calibration_bins,
    expected_calibration_error,
    maximum_calibration_error,
)
from trainer.metrics.histogram import auc_error_bound
from trainer.metrics.ranking import class_ranking, class_rankings, mean_of_defined
from trainer.metrics.thresholds import ThresholdCounts
from trainer.metrics.top_k import top_k_hits
from trainer.runtime.determinism import derive_seed
from trainer.tasks.classification_evaluator import Predictions

# Decimals of a curve's points. Rounding moves its area by less than 1e-6.
DECIMALS = 6


class ClassificationMetrics:
    """Everything that is measured on a split, from whole numbers and each sample's scores; nothing is drawn anew.

    Areas are exact where ``predictions`` hold probabilities, and of their histograms otherwise.
    """

    def __init__(
        self,
        config: Metrics,
        *,
        seed: int,
        class_names: Sequence[str],
        labels: Counts,
        confusion: Counts,
        predictions: Predictions,
        histogram: Counts | None,
    ) -> None:
        """Compute the areas.

        Args:
            config: What to measure.
            seed: Decides the resamples of the intervals.
            class_names: K names.
            labels: True classes, int64 [N].
            confusion: int64 [K, K], true class by row.
            predictions: What was said of each sample.
            histogram: int64 [K, 2, bins], as ``trainer.metrics.histogram`` counts it.
        """
        self._config = config
        self._seed = seed
        self._names = tuple(class_names)
        self._labels = labels
        self._confusion = confusion
        self._right = predictions.predicted.numpy() == labels
        self._confidence = predictions.confidence.numpy()
        self._ranks = predictions.true_class_rank.numpy()
        self._probabilities = None if predictions.probabilities is None else predictions.probabilities.numpy()
        self._bounds: list[float | None] = []
        if self._probabilities is not None:
            self._rankings = list(class_rankings(self._probabilities, labels))
        else:
            binned = [ThresholdCounts.of_bins(own, rest) for rest, own in ([] if histogram is None else histogram)]
            self._rankings = [class_ranking(counts) for counts in binned]
            self._bounds = [auc_error_bound(counts) for counts in binned]
        self._calibration: CalibrationBins = calibration_bins(self._confidence, self._right, config.calibration_bins)

    @property
    def is_exact(self) -> bool:
        """Whether areas are of the scores themselves."""
        return self._probabilities is not None

    @cached_property
    def report(self) -> dict[str, Any]:
        """The classification report, with areas by class and the names of the classes that the split has none of."""
        report = classification_summary(self._confusion, self._names)
        support = [row["support"] for row in report["classes"]]
        areas = {"auc": [ranking.auc for ranking in self._rankings]}
        if self.is_exact:
            areas["average_precision"] = [ranking.average_precision for ranking in self._rankings]
        else:
            areas["auc_error_bound"] = self._bounds
            report["auc_error_bound"] = mean_of_defined(self._bounds)
        for name, values in areas.items():
            for row, value in zip(report["classes"], values, strict=True):
                row[name] = value
            report["macro"][name] = mean_of_defined(values)
            report["weighted"][name] = mean_of_defined(values, support)
        report["absent_classes"] = [name for name, count in zip(self._names, support, strict=True) if count == 0]
        return report

    @cached_property
    def scores(self) -> dict[str, float]:
        """The final metrics by name; an average that no class has a value for is left out."""
        scores = {"accuracy": self.report["accuracy"], "macro_f1": self.report["macro"]["f1"]}
        samples = max(len(self._labels), 1)
        scores |= {f"top_{k}_accuracy": top_k_hits(self._ranks, k) / samples for k in self._top_k}
        for name in ("auc", "average_precision"):
            if (area := self.report["macro"].get(name)) is not None:
                scores[f"macro_{name}"] = area
        return {**scores, "calibration_error": expected_calibration_error(self._calibration)}

    @property
    def _top_k(self) -> list[int]:
        return [k for k in self._config.top_k if k < len(self._names)]

    def intervals(self) -> dict[str, Any] | None:
        """Confidence intervals of the final metrics that have one; None where they are not wanted."""
        config = self._config
        if config.bootstrap == 0:
            return None
        found = {
            name: percentile_interval(values, config.confidence) for name, values in self._resampled(config.bootstrap)
        }
        if self._probabilities is not None:
            areas = macro_area_intervals(
                self._probabilities,
                self._labels,
                resamples=config.bootstrap,
                confidence=config.confidence,
                rng=self._rng("areas"),
            )
            found |= {"macro_auc": areas.auc, "macro_average_precision": areas.average_precision}
        known = {name: list(interval) for name in self.scores if (interval := found.get(name))}
        return {"confidence": config.confidence, "resamples": config.bootstrap, **known}

    def _resampled(self, resamples: int) -> Iterator[tuple[str, Scores]]:
        """Each metric that counts decide, and its value in each resample."""
        hits = {f"top_{k}_accuracy": top_k_hits(self._ranks, k) for k in self._top_k}
        for name, right in {"accuracy": int(self._right.sum()), **hits}.items():
            yield name, resampled_shares(right, len(self._labels), resamples, self._rng(name))
        yield "macro_f1", resampled_macro_f1(self._confusion, resamples, self._rng("macro_f1"))
        bins, rng = self._config.calibration_bins, self._rng("calibration_error")
        errors = resampled_calibration_errors(self._confidence, self._right, bins, resamples, rng)
        yield "calibration_error", errors

    def _rng(self, metric: str) -> np.random.Generator:
        """A generator of its own for each metric, so that one that is switched off changes no other."""
        return np.random.default_rng(derive_seed("bootstrap", metric, self._seed))

    def evaluation(self) -> dict[str, Any]:
        """The content of evaluation.json: curves by class, and reliability bins."""
        content: dict[str, Any] = {"schemaVersion": 1, "roc": {"classes": self._roc()}}
        if self.is_exact:
            content["precision_recall"] = {"classes": self._precision_recall()}
        return {**content, "calibration": self._reliability()}

    def _roc(self) -> list[dict[str, Any]]:
        return [
            {
                "class": name,
                "auc": ranking.auc,
                "false_positive_rate": _rounded(ranking.roc.x),
                "true_positive_rate": _rounded(ranking.roc.y),
            }
            for name, ranking in zip(self._names, self._rankings, strict=True)
        ]

    def _precision_recall(self) -> list[dict[str, Any]]:
        return [
            {
                "class": name,
                "average_precision": ranking.average_precision,
                "recall": _rounded(ranking.precision_recall.x),
                "precision": _rounded(ranking.precision_recall.y),
            }
            for name, ranking in zip(self._names, self._rankings, strict=True)
        ]

    def _reliability(self) -> dict[str, Any]:
        bins = self._calibration
        rows = [
            {
                "lower": float(lower),
                "upper": float(upper),
                "count": int(count),
                "confidence": int(confidence) / (UNITS * int(count)) if count else None,
                "accuracy": int(right) / int(count) if count else None,
            }
            for lower, upper, count, confidence, right in zip(
                bins.edges[:-1], bins.edges[1:], bins.count, bins.confidence, bins.right, strict=True
            )
        ]
        error = {"error": expected_calibration_error(bins), "max_error": maximum_calibration_error(bins)}
        return {"bins": rows, **error}


def _rounded(values: Scores) -> list[float]:
    rounded: list[float] = np.round(values, DECIMALS).tolist()
    return rounded
