"""Whether a classifier is right as often as it says."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from trainer.output.plots.figure import COLOURS, FAINT, INK, drawn, say_nothing_to_draw, style

# Quantile of the standard normal distribution for intervals of 95%.
_Z95 = 1.959964


def reliability_diagram(calibration: dict[str, Any], path: Path) -> None:
    """Draw accuracy over confidence (Niculescu-Mizil and Caruana, 2005), and how many samples each bin has.

    Args:
        calibration: evaluation.json's ``calibration``: ``bins`` (lower, upper, count, and the mean confidence and
            accuracy of its samples, None without any), ``error`` and ``max_error``.
        path: PNG to write.
    """
    bins = calibration["bins"]
    filled = [one for one in bins if one["count"]]
    with drawn(path, width=5.6, height=6.4) as figure:
        reliability, samples = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_reliability(reliability, filled)
        style(reliability, title=_title(calibration) if filled else "calibration")
        _draw_counts(samples, bins)
        style(samples)


def _title(calibration: dict[str, Any]) -> str:
    return f"calibration error {calibration['error']:.2%} (largest of a bin: {calibration['max_error']:.2%})"


def _draw_reliability(axes: Axes, filled: list[dict[str, Any]]) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", label="as often right as said")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="right (share of the bin's samples)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if not filled:
        say_nothing_to_draw(axes, "nothing evaluated")
        return
    count, confidence, accuracy = (_column(filled, name) for name in ("count", "confidence", "accuracy"))
    lower, upper = wilson_interval(accuracy, count)
    axes.errorbar(
        confidence,
        accuracy,
        yerr=np.abs([accuracy - lower, upper - accuracy]),
        color=COLOURS[0],
        ecolor=COLOURS[0],
        elinewidth=0.9,
        capsize=2.5,
        marker="o",
        markersize=5,
        linestyle="",  # a line through bins of few samples would catch the eye more than they deserve
        label="this classifier (95% interval)",
    )


def _draw_counts(axes: Axes, bins: list[dict[str, Any]]) -> None:
    lower, upper, count = (_column(bins, name) for name in ("lower", "upper", "count"))
    axes.bar(lower, count, width=0.94 * (upper - lower), align="edge", color=COLOURS[0], alpha=0.6)
    axes.set(xlabel="confidence (probability of the predicted class)", ylabel="samples (log)")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    # A good classifier has nearly all of its samples in the last bin; the others must be seen beside it.
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 2 * max(count.max(initial=0), 1))
    axes.yaxis.label.set_color(INK)


def wilson_interval(
    share: npt.NDArray[np.float64], count: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bounds of the 95% interval of a share seen in ``count`` samples (Wilson, 1927); both float64 [N]."""
    weight = 1 + _Z95**2 / count
    middle = (share + _Z95**2 / (2 * count)) / weight
    reach = _Z95 / weight * np.sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2))
    return middle - reach, middle + reach


def _column(rows: list[dict[str, Any]], name: str) -> npt.NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)
