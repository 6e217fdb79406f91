"""Curves over all thresholds, one class against the rest: ROC, and precision over recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from trainer.output.plots.figure import FAINT, INK, drawn, line_style, listed, plain_legend, shortened, style
from trainer.output.wording import score

# With more classes than this, only those with the smallest area are drawn.
MAX_DRAWN_CLASSES = 12
WORST_CLASSES = 10
# Sides of the square in the best corner that is shown enlarged: the smallest in whose inner half every curve turns.
CORNERS = (0.01, 0.02, 0.05, 0.1, 0.2)
# Points of the macro average's curve.
GRID = 10_001

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Curve:
    label: str
    x: Points
    y: Points
    area: float
    look: dict[str, Any]


def roc_curves(classes: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw one-vs-rest ROC curves: of all classes, or of those with the smallest areas and the macro average.

    The macro average is the mean of all classes' curves at each false positive rate; its area is the mean of theirs.

    Args:
        classes: evaluation.json's ``roc.classes``: class, auc (None where a class has no samples, or nothing else has),
            false_positive_rate and true_positive_rate.
        path: PNG to write.
    """
    curves = [
        _Curve(row["class"], *_points(row["false_positive_rate"], row["true_positive_rate"]), row["auc"], {})
        for row in classes
        if row["auc"] is not None
    ]
    grid = np.linspace(0, 1, GRID)
    macro = [_mean_curve(curves, grid)] if len(curves) > 2 else []  # of two classes, each curve tells the other
    figure = _ClassCurves(title="ROC, one class against the rest", area="AUC", best=(0.0, 1.0), drawstyle="default")
    with drawn(path, width=11, height=4.5) as canvas:
        axes = figure.draw(canvas, [*_shown(curves, "AUC"), *macro], absent=_absent(classes, "auc"))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
        axes.set(xlabel="false positive rate", ylabel="true positive rate")


def precision_recall_curves(classes: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw one-vs-rest precision over recall: of all classes, or of those with the smallest average precision.

    Args:
        classes: evaluation.json's ``precision_recall.classes``: class, average_precision (None where a class has no
            samples), recall and precision.
        path: PNG to write.
    """
    curves = [
        _Curve(row["class"], *_points(row["recall"], row["precision"]), row["average_precision"], {})
        for row in classes
        if row["average_precision"] is not None
    ]
    # Between two thresholds the precision of the higher recall holds: average precision does not interpolate either.
    figure = _ClassCurves(
        title="Precision over recall, one class against the rest", area="AP", best=(1.0, 1.0), drawstyle="steps-pre"
    )
    with drawn(path, width=11, height=4.5) as canvas:
        axes = figure.draw(canvas, _shown(curves, "AP"), absent=_absent(classes, "average_precision"))
        axes.set(xlabel="recall", ylabel="precision")


def _points(x: Sequence[float], y: Sequence[float]) -> tuple[Points, Points]:
    """Both as arrays, in the order of growing ``x``."""
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(across) > 1 and across[0] > across[-1]:
        return across[::-1], up[::-1]
    return across, up


def _mean_curve(curves: Sequence[_Curve], grid: Points) -> _Curve:
    heights = sum(np.interp(grid, curve.x, curve.y) for curve in curves) / len(curves)
    area = float(np.mean([curve.area for curve in curves]))
    label = f"mean of {len(curves):,} classes (AUC {score(area)})"
    look = {"color": INK, "linewidth": 2.2}
    return _Curve(label, np.concatenate([[0.0], grid]), np.concatenate([[0.0], heights]), area, look)


def _shown(curves: Sequence[_Curve], area: str) -> list[_Curve]:
    """The curves that fit into one picture, with their labels and looks."""
    if len(curves) > MAX_DRAWN_CLASSES:
        curves = sorted(curves, key=lambda curve: curve.area)[:WORST_CLASSES]
    return [
        _Curve(f"{shortened(curve.label)} ({area} {score(curve.area)})", curve.x, curve.y, curve.area, line_style(at))
        for at, curve in enumerate(curves)
    ]


def _absent(classes: Sequence[dict[str, Any]], area: str) -> list[str]:
    return [row["class"] for row in classes if row[area] is None]


@dataclass(frozen=True)
class _ClassCurves:
    """Two panels, the whole square and its best corner enlarged, with one legend beside them."""

    title: str
    area: str
    best: tuple[float, float]
    """The corner in which a perfect classifier's curve turns."""
    drawstyle: str

    def draw(self, canvas: Any, curves: Sequence[_Curve], *, absent: Sequence[str]) -> Axes:
        """Draw; the panel of the whole square."""
        corner = self._corner(curves)
        panels = canvas.subplots(1, 2 if corner else 1, squeeze=False)[0]
        for axes in panels:
            for curve in curves:
                look = {"linewidth": 1.5, "drawstyle": self.drawstyle, **curve.look}
                axes.plot(curve.x, curve.y, label=curve.label, clip_on=axes is not panels[0], **look)
            style(axes, title=self.title, legend=False)
            axes.set_aspect("equal")
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        if corner:
            self._enlarge(panels[1], corner)
        if curves:
            plain_legend(panels[-1], loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
        if absent:
            words = f"without a curve, for want of samples: {listed(absent)}"
            canvas.supxlabel(words, fontsize=9, color=INK, parse_math=False)
        whole: Axes = panels[0]
        return whole

    def _corner(self, curves: Sequence[_Curve]) -> float | None:
        farthest = max((float(np.min(self._distance(curve))) for curve in curves), default=0.0)
        if farthest == 0:  # nothing to see: all are perfect, or there are none
            return None
        return next((side for side in CORNERS if farthest < side / 2), None)

    def _distance(self, curve: _Curve) -> Points:
        """Of each point from the best corner, by the axis on which it is farther."""
        farther: Points = np.maximum(np.abs(curve.x - self.best[0]), np.abs(curve.y - self.best[1]))
        return farther

    def _enlarge(self, axes: Axes, side: float) -> None:
        air = side * 0.02
        left, _ = sorted((self.best[0], abs(self.best[0] - side)))
        axes.set(xlim=(left - air, left + side + air), ylim=(1 - side - air, 1 + air))
        axes.set_title(f"its best corner, {1 / side:.0f} times as large", fontsize=11, color=INK)
