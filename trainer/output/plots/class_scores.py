"""How well each class is told: precision, recall and F1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from trainer.output.plots.figure import COLOURS, FAINT, INK, drawn, listed, shortened, style

# With more classes than this, those with the smallest F1 are drawn, and a histogram of all.
MAX_DRAWN_CLASSES = 40
HISTOGRAM_BINS = 20
_MARKS = {"precision": ("<", COLOURS[1]), "recall": (">", COLOURS[2]), "f1": ("o", COLOURS[0])}
_WORDS = {"precision": "precision", "recall": "recall", "f1": "F1"}


def class_scores(classes: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw precision, recall and F1 of each class, or of the worst ones beside a histogram of the F1 of all.

    Each score is a mark on the class's bar from its lowest to its highest, so that classes which are all nearly right
    can still be told apart: a bar from zero could not show it.

    Args:
        classes: The report's ``classes``: class, precision, recall, f1 and support; without samples a class is named
            below the picture and not drawn.
        path: PNG to write.
    """
    present = [row for row in classes if row["support"]]
    absent = [row["class"] for row in classes if not row["support"]]
    is_cut = len(present) > MAX_DRAWN_CLASSES
    shown = sorted(present, key=lambda row: float(row["f1"]))[:MAX_DRAWN_CLASSES] if is_cut else present
    with drawn(path, width=10.5 if is_cut else 6.4, height=1.6 + 0.26 * max(len(shown), 6)) as figure:
        panels = figure.subplots(1, 2 if is_cut else 1, squeeze=False, width_ratios=(3, 2) if is_cut else None)[0]
        _draw_scores(panels[0], shown)
        style(panels[0], title=f"the {len(shown)} classes with the lowest F1" if is_cut else "scores of each class")
        if is_cut:
            _draw_histogram(panels[1], present)
        if absent:
            words = f"without samples: {listed(absent)}"
            figure.supxlabel(words, fontsize=9, color=INK, parse_math=False)


def _draw_scores(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    where = np.arange(len(rows))
    values = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in _MARKS}
    if rows:
        together = np.stack(list(values.values()))
        axes.hlines(where, together.min(axis=0), together.max(axis=0), color=FAINT, linewidth=4, alpha=0.45)
        lowest = min(float(together.min()), 0.99)  # where all are right, rounding must not fill the axis
        axes.set_xlim(max(lowest - 0.06 * (1 - lowest), -0.02), 1 + 0.04 * (1 - lowest))
    for name, (marker, colour) in _MARKS.items():
        label = _WORDS[name]
        axes.plot(values[name], where, linestyle="", marker=marker, color=colour, markersize=6, alpha=0.9, label=label)
    axes.set_yticks(where, [shortened(row["class"]) for row in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set(xlabel="score", ylabel="class")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _draw_histogram(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    scores = np.array([row["f1"] for row in rows], dtype=np.float64)
    axes.hist(scores, bins=np.linspace(0, 1, HISTOGRAM_BINS + 1).tolist(), color=COLOURS[0], alpha=0.6)
    median = float(np.median(scores))
    axes.axvline(median, color=INK, linewidth=1, linestyle=":", label=f"median {median:.2%}")
    axes.set(xlabel="F1", ylabel="classes")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    style(axes, title=f"F1 of all {len(rows):,} classes")
