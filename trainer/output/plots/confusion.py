"""Which classes are taken for which."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

from trainer.metrics import Counts
from trainer.output.plots.figure import INK, drawn, shortened

# Beyond these numbers of classes, text in the matrix would overlap.
MAX_COUNTED_CLASSES = 20
MAX_NAMED_CLASSES = 50


def confusion_matrix(confusion: Counts, class_names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix: shade by share of the true class, counts written in where there is room.

    Args:
        confusion: Counts int64 [K, K], true class by row.
        class_names: K names.
        path: PNG to write.
    """
    classes = len(class_names)
    side = min(12.0, max(4.6, 1.8 + 0.46 * classes))
    support = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, support, out=np.zeros(confusion.shape), where=support != 0)
    with drawn(path, width=side + 1, height=side) as figure:
        axes = figure.subplots()
        # Where no counts are written, the root makes a single wrong sample visible as a shade.
        norm = Normalize(0, 1) if classes <= MAX_COUNTED_CLASSES else PowerNorm(0.5, 0, 1)
        image = axes.imshow(share, cmap="Blues", norm=norm, interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format=PercentFormatter(1.0, decimals=0))
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
        axes.set(xlabel="predicted class", ylabel="true class")
        right = int(np.trace(confusion))
        total = int(confusion.sum())
        axes.set_title(f"{right:,} of {total:,} right ({right / max(total, 1):.2%})", fontsize=11, color=INK)
        _label_classes(axes, class_names)
        if classes <= MAX_COUNTED_CLASSES:
            _write_counts(axes, confusion, share)


def _label_classes(axes: Axes, class_names: Sequence[str]) -> None:
    classes = len(class_names)
    if classes > MAX_NAMED_CLASSES:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        axes.set(xlabel="predicted class (index)", ylabel="true class (index)")
        return
    names = [shortened(name) for name in class_names]
    size = 9 if classes <= MAX_COUNTED_CLASSES else 7
    upright = max(map(len, names)) <= 3
    rotation: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    # Names are the user's: a dollar sign in one must not start a formula.
    axes.set_xticks(range(classes), names, fontsize=size, parse_math=False, **rotation)
    axes.set_yticks(range(classes), names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)


def _write_counts(axes: Axes, confusion: Counts, share: npt.NDArray[np.float64]) -> None:
    widest = len(str(confusion.max()))
    size = min(10.0, 40 / widest) if len(confusion) <= 10 else min(8.0, 28 / widest)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if share[row, column] > 0.5 else INK
            axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=colour)
