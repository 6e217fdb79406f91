"""Pictures of a run as PNG files, drawn through matplotlib's objects: no global pyplot state, no display."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from trainer.metrics import Counts
from trainer.output.storage import replacing

DPI = 120
# Colours that the common kinds of colour blindness can tell apart (Okabe and Ito, 2008).
COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#D55E00"}
INK, FAINT = "#333333", "#999999"
SCORE_STYLES: tuple[dict[str, Any], ...] = ({"marker": "o"}, {"linestyle": ":", "marker": "."})
# A curve is smoothed over this share of its points: enough to see its course, too little to hide a spike for long.
SMOOTHING_SHARE = 0.05
# Gradient norms that differ by less than this factor are easier to read on a linear axis.
LOG_AXIS_FROM = 30

# Beyond these numbers of classes, text in the confusion matrix would overlap.
MAX_COUNTED_CLASSES = 20
MAX_NAMED_CLASSES = 50
MAX_NAME_LENGTH = 16

Line = dict[str, Any]
Series = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def learning_curves(metrics: list[Line], path: Path) -> None:
    """Draw loss, scores, learning rate and gradient norm over epochs.

    Args:
        metrics: Lines of metrics.jsonl: ``kind: step`` (loss, lr, grad_norm) and ``kind: epoch`` (train_loss and a
            split's loss and scores, such as accuracy and macro_f1).
        path: PNG to write.
    """
    with _figure(path, width=11, height=7.5) as figure:
        panels = figure.subplots(2, 2, sharex=True)
        run = _Run(metrics)
        drawings: list[Callable[[Axes, _Run], None]] = [_draw_loss, _draw_scores, _draw_learning_rate, _draw_norm]
        for axes, draw in zip(panels.flat, drawings, strict=True):
            draw(axes, run)
            _style(axes)
        for axes in panels[1]:
            axes.set_xlabel(run.unit)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def confusion_matrix(confusion: Counts, class_names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix: shade by share of the true class, counts written in where there is room.

    Args:
        confusion: Counts int64 [K, K], true class by row.
        class_names: K names.
        path: PNG to write.
    """
    classes = len(class_names)
    side = min(12.0, max(5.0, 2.5 + 0.55 * classes))
    support = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, support, out=np.zeros(confusion.shape), where=support != 0)
    with _figure(path, width=side + 1, height=side) as figure:
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


class _Run:
    """The lines of a run as series over epochs, or over steps where no epoch has ended."""

    def __init__(self, metrics: list[Line]) -> None:
        self._steps = [line for line in metrics if line["kind"] == "step"]
        self._epochs = [line for line in metrics if line["kind"] == "epoch"]
        self.splits = [split for split in COLOURS if any(line["split"] == split for line in self._epochs)]
        about = ("kind", "step", "epoch", "train_loss", "split", "loss")
        self.scores = [name for name in (self._epochs[0] if self._epochs else ()) if name not in about]
        self.unit = "epoch" if self._epochs else "step"
        self._steps_per_unit = self._epochs[-1]["step"] / self._epochs[-1]["epoch"] if self._epochs else 1.0

    def of_steps(self, name: str) -> Series:
        return self._series(self._steps, name)

    def of_epochs(self, name: str, split: str | None = None) -> Series:
        return self._series([line for line in self._epochs if split in (None, line["split"])], name)

    def _series(self, lines: list[Line], name: str) -> Series:
        points = [(line["step"] / self._steps_per_unit, line[name]) for line in lines if line.get(name) is not None]
        table = np.array(points, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def _draw_loss(axes: Axes, run: _Run) -> None:
    where, loss = run.of_steps("loss")
    axes.plot(where, loss, color=COLOURS["train"], alpha=0.25, linewidth=0.8)
    axes.plot(where, smoothed(loss), color=COLOURS["train"], linewidth=1.6, label="train (smoothed)")
    for split in run.splits:
        axes.plot(*run.of_epochs("loss", split), color=COLOURS[split], marker="o", markersize=3.5, label=split)
    axes.set_title("loss", fontsize=11, color=INK)
    axes.set_ylabel("mean loss of a sample")
    _from_zero(axes)


def _draw_scores(axes: Axes, run: _Run) -> None:
    for split in run.splits:
        for name, style in zip(run.scores, SCORE_STYLES, strict=False):
            where, values = run.of_epochs(name, split)
            label = f"{split} {_words(name)}" + (f" (last {values[-1]:.2%})" if len(values) else "")
            axes.plot(where, values, color=COLOURS[split], markersize=3.5, label=label, **style)
    axes.set_title(" and ".join(map(_words, run.scores)) or "scores", fontsize=11, color=INK)
    axes.set_ylabel("share")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if not run.splits:
        axes.text(0.5, 0.5, "nothing evaluated", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _draw_learning_rate(axes: Axes, run: _Run) -> None:
    axes.plot(*run.of_steps("lr"), color=COLOURS["train"])
    axes.set_title("learning rate", fontsize=11, color=INK)
    axes.set_ylabel("learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _from_zero(axes)


def _draw_norm(axes: Axes, run: _Run) -> None:
    where, norm = run.of_steps("grad_norm")
    axes.plot(where, norm, color=COLOURS["train"], alpha=0.25, linewidth=0.8)
    axes.plot(where, smoothed(norm), color=COLOURS["train"], linewidth=1.6, label="smoothed")
    axes.set_title("gradient norm before clipping", fontsize=11, color=INK)
    axes.set_ylabel("global L2 norm")
    if len(norm) and norm.max() > LOG_AXIS_FROM * norm.min() > 0:
        axes.set_yscale("log")
    else:
        _from_zero(axes)


def smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Centred moving average; unlike an exponential one it does not lag behind a falling curve. Shorter at the ends."""
    reach = int(len(values) * SMOOTHING_SHARE / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    here = np.arange(len(values))
    first, last = np.maximum(here - reach, 0), np.minimum(here + reach + 1, len(values))
    averages: npt.NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return averages


def _from_zero(axes: Axes) -> None:
    """Start the vertical axis at zero and leave a little air above the highest point."""
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines])
    axes.set_ylim(0, 1.08 * (heights.max(initial=0.0) or 1.0))


def _label_classes(axes: Axes, class_names: Sequence[str]) -> None:
    classes = len(class_names)
    if classes > MAX_NAMED_CLASSES:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        axes.set(xlabel="predicted class (index)", ylabel="true class (index)")
        return
    names = [name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…" for name in class_names]
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


def _style(axes: Axes) -> None:
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


@contextmanager
def _figure(path: Path, *, width: float, height: float) -> Iterator[Figure]:
    """A figure (inches) that becomes the PNG at ``path``, whole or not at all."""
    figure = Figure(figsize=(width, height), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    yield figure
    with replacing(path) as temporary:
        canvas.print_figure(temporary, dpi=DPI, format="png", bbox_inches="tight", pad_inches=0.15)
