"""What happened while training: loss, scores, learning rate and gradient norm over epochs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from trainer.output.plots.figure import drawn, line_style, say_nothing_to_draw, shortened, style
from trainer.output.wording import words

SPLIT_COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#D55E00"}
SCORE_STYLES: tuple[dict[str, Any], ...] = ({"marker": "o"}, {"linestyle": ":", "marker": "."})
# A curve is smoothed over this share of its points: enough to see its course, too little to hide a spike for long.
SMOOTHING_SHARE = 0.05
# Gradient norms that differ by less than this factor are easier to read on a linear axis.
LOG_AXIS_FROM = 30
_NO_SCORES = ("kind", "step", "epoch", "train_loss", "split", "loss")

Line = dict[str, Any]
Series = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class RunCurves:
    """The lines of a run to compare."""

    name: str
    trainings: Sequence[list[Line]]
    """Lines of metrics.jsonl: one list, or one for each fold of a cross-validation."""


def learning_curves(metrics: list[Line], path: Path) -> None:
    """Draw loss, scores, learning rate and gradient norm over epochs.

    Args:
        metrics: Lines of metrics.jsonl: ``kind: step`` (loss, lr, grad_norm) and ``kind: epoch`` (train_loss and a
            split's loss and scores, such as accuracy and macro_f1).
        path: PNG to write.
    """
    with drawn(path, width=11, height=7.5) as figure:
        panels = figure.subplots(2, 2, sharex=True)
        run = _Training(metrics)
        drawings: list[Callable[[Axes, _Training], None]] = [_draw_loss, _draw_scores, _draw_learning_rate, _draw_norm]
        for axes, draw in zip(panels.flat, drawings, strict=True):
            draw(axes, run)
        for axes in panels[1]:
            axes.set_xlabel(run.unit)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def overlaid_curves(runs: Sequence[RunCurves], path: Path) -> None:
    """Draw loss and up to two scores of several runs into the same panels, a colour a run, all folds of it alike.

    Args:
        runs: What to compare; one without lines has none in the picture.
        path: PNG to write.
    """
    trainings = [[_Training(lines) for lines in run.trainings] for run in runs]
    scores = list(dict.fromkeys(name for run in trainings for training in run for name in training.scores))
    names = ["loss", *scores[: len(SCORE_STYLES)]]
    with drawn(path, width=4.6 * len(names), height=4.2) as figure:
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            for index, (run, run_trainings) in enumerate(zip(runs, trainings, strict=True)):
                for training in run_trainings:
                    _draw_run(axes, training, name, index)
                if any(training.has(name) for training in run_trainings):
                    axes.plot([], [], label=shortened(run.name, 32), **line_style(index))
            _finish_overlay(axes, name, [training for run in trainings for training in run])


def _draw_run(axes: Axes, training: "_Training", name: str, index: int) -> None:
    look = line_style(index)
    for split in training.splits:
        axes.plot(*training.of_epochs(name, split), marker=".", markersize=4, linewidth=1.4, alpha=0.85, **look)
    if name == "loss":
        where, loss = training.of_steps("loss")
        axes.plot(where, smoothed(loss), color=look["color"], alpha=0.35, linewidth=1.0)


def _finish_overlay(axes: Axes, name: str, trainings: list["_Training"]) -> None:
    axes.set_xlabel(" or ".join(dict.fromkeys(training.unit for training in trainings)) or "epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    if name == "loss":
        axes.set_ylabel("mean loss of a sample")
        _from_zero(axes)
        style(axes, title="loss (faint: training)")
    else:
        axes.set_ylabel("share")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _end_at_one(axes)
        style(axes, title=words(name))
    if not any(np.size(line.get_xdata()) for line in axes.lines):
        say_nothing_to_draw(axes, "no run has evaluated this")


class _Training:
    """The lines of a training as series over epochs, or over steps where no epoch has ended."""

    def __init__(self, metrics: list[Line]) -> None:
        self._steps = [line for line in metrics if line["kind"] == "step"]
        self._epochs = [line for line in metrics if line["kind"] == "epoch"]
        self.splits = [split for split in SPLIT_COLOURS if any(line["split"] == split for line in self._epochs)]
        self.scores = [name for name in (self._epochs[0] if self._epochs else ()) if name not in _NO_SCORES]
        # A script may say in its steps alone which epoch it is in.
        ends = self._epochs or [line for line in self._steps if line.get("epoch", 0) > 1]
        self.unit = "epoch" if ends else "step"
        self._steps_per_unit = ends[-1]["step"] / ends[-1]["epoch"] if ends else 1.0

    def has(self, name: str) -> bool:
        """Whether an overlay has something to draw: of steps it shows the loss alone."""
        lines = [*self._epochs, *(self._steps if name == "loss" else ())]
        return any(line.get(name) is not None for line in lines)

    def of_steps(self, name: str) -> Series:
        return self._series(self._steps, name)

    def of_epochs(self, name: str, split: str | None = None) -> Series:
        return self._series([line for line in self._epochs if split in (None, line["split"])], name)

    def _series(self, lines: list[Line], name: str) -> Series:
        points = [(line["step"] / self._steps_per_unit, line[name]) for line in lines if line.get(name) is not None]
        table = np.array(points, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def _draw_loss(axes: Axes, run: _Training) -> None:
    where, loss = run.of_steps("loss")
    axes.plot(where, loss, color=SPLIT_COLOURS["train"], alpha=0.25, linewidth=0.8)
    axes.plot(where, smoothed(loss), color=SPLIT_COLOURS["train"], linewidth=1.6, label="train (smoothed)")
    for split in run.splits:
        axes.plot(*run.of_epochs("loss", split), color=SPLIT_COLOURS[split], marker="o", markersize=3.5, label=split)
    axes.set_ylabel("mean loss of a sample")
    _from_zero(axes)
    style(axes, title="loss")


def _draw_scores(axes: Axes, run: _Training) -> None:
    drawn_scores = list(zip(run.scores, SCORE_STYLES, strict=False))
    for split in run.splits:
        for name, look in drawn_scores:
            where, values = run.of_epochs(name, split)
            label = f"{split} {words(name)}" + (f" (last {values[-1]:.2%})" if len(values) else "")
            axes.plot(where, values, color=SPLIT_COLOURS[split], markersize=3.5, label=label, **look)
    axes.set_ylabel("share")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _end_at_one(axes)
    if not run.splits:
        say_nothing_to_draw(axes, "nothing evaluated")
    style(axes, title=" and ".join(words(name) for name, _ in drawn_scores) or "scores")


def _draw_learning_rate(axes: Axes, run: _Training) -> None:
    axes.plot(*run.of_steps("lr"), color=SPLIT_COLOURS["train"])
    axes.set_ylabel("learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _from_zero(axes)
    style(axes, title="learning rate")


def _draw_norm(axes: Axes, run: _Training) -> None:
    where, norm = run.of_steps("grad_norm")
    axes.plot(where, norm, color=SPLIT_COLOURS["train"], alpha=0.25, linewidth=0.8)
    axes.plot(where, smoothed(norm), color=SPLIT_COLOURS["train"], linewidth=1.6, label="smoothed")
    axes.set_ylabel("global L2 norm")
    if len(norm) and norm.max() > LOG_AXIS_FROM * norm.min() > 0:
        axes.set_yscale("log")
    else:
        _from_zero(axes)
    style(axes, title="gradient norm before clipping")


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
    axes.set_ylim(0, 1.08 * (_highest(axes) or 1.0))


def _end_at_one(axes: Axes) -> None:
    """Keep an axis of shares from reaching beyond 100%, unless an error rate does."""
    lowest, highest = axes.get_ylim()
    if _highest(axes) <= 1 < highest:
        axes.set_ylim(top=1 + 0.04 * (1 - lowest))


def _highest(axes: Axes) -> float:
    heights = (np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines)
    return max((float(one.max(initial=0.0)) for one in heights), default=0.0)
