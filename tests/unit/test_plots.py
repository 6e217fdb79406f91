"""Pictures: they appear whole, for every length of run and number of classes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tests.sample_results import class_names, evaluation_of, metrics_lines, summary_of
from trainer.output.plots import (
    RunCurves,
    class_scores,
    classifier_plots,
    confusion_matrix,
    learning_curves,
    overlaid_curves,
    precision_recall_curves,
    reliability_diagram,
    roc_curves,
    smoothed,
)
from trainer.output.plots.calibration import wilson_interval


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What was drawn, to look into; not rendered, which takes most of the time."""
    seen: list[Figure] = []

    def keep(canvas: FigureCanvasAgg, path: Path, **_options: Any) -> None:
        seen.append(canvas.figure)
        path.touch()

    monkeypatch.setattr(FigureCanvasAgg, "print_figure", keep)
    return seen


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def _legend(figure: Figure) -> list[str]:
    legend = figure.axes[-1].get_legend()
    assert legend
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(
    "metrics",
    [metrics_lines(3), metrics_lines(1, splits=("validation", "test")), metrics_lines(0), metrics_lines(0)[:1], []],
    ids=["epochs", "two splits", "no epoch yet", "one step", "nothing"],
)
def test_learning_curves_are_drawn_for_any_run(tmp_path: Path, metrics: list[dict[str, Any]]) -> None:
    learning_curves(metrics, tmp_path / "curves.png")
    width, height = _size(tmp_path / "curves.png")
    assert 1000 < width < 1600
    assert 700 < height < 1200


def test_a_score_that_an_epoch_could_not_tell_leaves_a_gap(tmp_path: Path, figures: list[Figure]) -> None:
    lines = [{**line, "macro_auc": None} if line["kind"] == "epoch" else line for line in metrics_lines(2)]
    learning_curves(lines, tmp_path / "curves.png")
    assert figures[0].axes[1].get_title() == "accuracy and macro F1"


@pytest.mark.parametrize("classes", [1, 10, 21, 51, 300])
def test_confusion_matrices_are_drawn_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    confusion = np.random.default_rng(0).integers(0, 5, (classes, classes)) + 90 * np.eye(classes, dtype=np.int64)
    confusion_matrix(confusion, [f"a class called {index}" for index in range(classes)], tmp_path / "confusion.png")
    assert max(_size(tmp_path / "confusion.png")) < 1800


@pytest.mark.parametrize(("classes", "absent"), [(2, ()), (41, (5, 7))])
def test_a_classifiers_pictures_are_drawn_for_few_and_many_classes(
    tmp_path: Path, classes: int, absent: tuple[int, ...]
) -> None:
    classifier_plots(tmp_path, summary_of(classes, absent=absent), evaluation_of(classes, absent=absent))
    sizes = {path.stem: _size(path) for path in tmp_path.glob("*.png")}
    expected = {"confusion_matrix", "class_scores", "roc_curves", "precision_recall_curves", "calibration"}
    assert set(sizes) == expected
    assert all(400 < width < 1700 and 300 < height < 1700 for width, height in sizes.values()), sizes


def test_what_was_not_evaluated_is_not_drawn(tmp_path: Path) -> None:
    classifier_plots(tmp_path, summary_of(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class_scores.png", "confusion_matrix.png"]


def test_of_many_classes_the_worst_roc_curves_and_the_mean_are_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    roc_curves(evaluation_of(41, absent=(5,))["roc"]["classes"], tmp_path / "roc.png")
    legend = _legend(figures[0])
    worst = [*range(5), *range(6, 11)]  # a class's area grows with its number
    assert [line.rpartition(" (")[0] for line in legend[1:2]] == ["$\\frac{"]
    assert [line.rpartition("(")[2] for line in legend[:-1]] == [f"AUC {1 - 1 / (at + 3):.4f})" for at in worst]
    areas = [1 - 1 / (at + 3) for at in range(41) if at != 5]
    assert legend[-1] == f"mean of 40 classes (AUC {np.mean(areas):.4f})"
    mean = figures[0].axes[0].lines[10]
    heights = [0.25 ** (1 / (at + 2)) for at in range(41) if at != 5]
    assert np.interp(0.25, *np.asarray(mean.get_xydata()).T) == pytest.approx(np.mean(heights), abs=2e-3)


def test_of_few_classes_all_are_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    roc_curves(evaluation_of(12)["roc"]["classes"], tmp_path / "roc.png")
    assert len(_legend(figures[0])) == 13
    looks = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[0].lines[:12]}
    assert len(looks) == 12, "two classes look the same"


@pytest.mark.parametrize(("draw", "part"), [(roc_curves, "roc"), (precision_recall_curves, "precision_recall")])
def test_absent_classes_are_named_and_not_drawn(
    tmp_path: Path, figures: list[Figure], draw: Callable[[Any, Path], None], part: str
) -> None:
    draw(evaluation_of(5, absent=(2, 4))[part]["classes"], tmp_path / "curves.png")
    assert not [line for line in _legend(figures[0]) if "class 4" in line]
    assert figures[0].get_supxlabel() == "without a curve, for want of samples: 犬, class 4"
    draw(evaluation_of(2, absent=(0, 1))[part]["classes"], tmp_path / "none.png")
    assert len(figures[1].axes) == 1


def test_curves_that_hug_the_corner_are_enlarged(tmp_path: Path, figures: list[Figure]) -> None:
    def curve(turn: float) -> dict[str, Any]:
        steps = {"false_positive_rate": [0, turn, 1], "true_positive_rate": [0, 1, 1]}
        return {"class": "a", "auc": 1 - turn / 2, **steps}

    for turn in (0.004, 0.4, 0.0):
        roc_curves([curve(turn)], tmp_path / "roc.png")
    assert [len(figure.axes) for figure in figures] == [2, 1, 1]
    assert figures[0].axes[1].get_title() == "its best corner, 100 times as large"
    assert figures[0].axes[1].get_xlim() == pytest.approx((-0.0002, 0.0102))


def test_an_area_is_not_rounded_up_to_one(tmp_path: Path, figures: list[Figure]) -> None:
    steps = {"false_positive_rate": [0, 0, 1], "true_positive_rate": [0, 1, 1]}
    roc_curves([{"class": "a", "auc": area, **steps} for area in (0.99999, 1.0)], tmp_path / "roc.png")
    assert _legend(figures[0]) == ["a (AUC 0.999990)", "a (AUC 1.0000)"]


def test_the_reliability_diagram_shows_the_bins_that_have_samples(tmp_path: Path, figures: list[Figure]) -> None:
    reliability_diagram(evaluation_of(3)["calibration"], tmp_path / "calibration.png")
    reliability, samples = figures[0].axes
    assert reliability.get_title() == "calibration error 5.00% (largest of a bin: 5.00%)"
    assert (reliability.lines[1].get_xdata(), reliability.lines[1].get_ydata()) == (0.95, 0.9)
    assert [bar.get_extents().height > 0 for bar in samples.patches] == [False] * 9 + [True]
    nothing = [{**one, "count": 0} for one in evaluation_of(3)["calibration"]["bins"]]
    reliability_diagram({"bins": nothing, "error": 0.0, "max_error": 0.0}, tmp_path / "nothing.png")
    assert figures[1].axes[0].texts[0].get_text() == "nothing evaluated"


def test_intervals_of_shares_are_wilsons() -> None:
    # Worked example: 9 of 10, z = 1.96 (Newcombe, 1998, has 0.5958 to 0.9821).
    low, high = wilson_interval(np.array([0.9]), np.array([10.0]))
    assert (low[0], high[0]) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_of_many_classes_those_with_the_lowest_f1_are_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    rows = [
        {"class": f"c{at}", "precision": 0.9, "recall": 1.0, "f1": 1 - at / 1000, "support": int(at != 99)}
        for at in range(100)
    ]
    class_scores(rows, tmp_path / "scores.png")
    worst, everything = figures[0].axes
    assert [tick.get_text() for tick in worst.get_yticklabels()] == [f"c{at}" for at in range(98, 58, -1)]
    assert everything.get_title() == "F1 of all 99 classes"
    assert figures[0].get_supxlabel() == "without samples: c99"


def test_runs_are_overlaid_whatever_they_have(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [
        RunCurves("one", [metrics_lines(3)]),
        RunCurves("folds $x", [metrics_lines(2), metrics_lines(2)]),
        RunCurves("steps only", [metrics_lines(0)]),
        RunCurves("nothing", []),
    ]
    overlaid_curves(runs, tmp_path / "curves.png")
    assert [axes.get_title() for axes in figures[0].axes] == ["loss (faint: training)", "accuracy", "macro F1"]
    assert _legend(figures[0]) == ["one", "folds $x"], "of the last panel, for which the others have nothing"
    overlaid_curves(runs[3:], tmp_path / "nothing.png")
    assert [axes.texts[0].get_text() for axes in figures[1].axes] == ["no run has evaluated this"]


def test_an_overlay_of_several_runs_is_as_wide_as_its_panels(tmp_path: Path) -> None:
    overlaid_curves([RunCurves("one", [metrics_lines(2)]), RunCurves("nothing", [])], tmp_path / "curves.png")
    assert 1400 < _size(tmp_path / "curves.png")[0] < 1800


def test_classes_without_samples_leave_empty_rows(tmp_path: Path) -> None:
    confusion_matrix(np.zeros((3, 3), dtype=np.int64), ("a", "b", "c"), tmp_path / "empty.png")
    assert _size(tmp_path / "empty.png")


def test_names_are_text_not_formulas_and_of_any_script(tmp_path: Path) -> None:
    names = (*class_names(4), "two\nlines", "\udcff")
    confusion_matrix(np.eye(6, dtype=np.int64), names, tmp_path / "names.png")
    rows = [{"class": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1} for name in names]
    class_scores(rows, tmp_path / "scores.png")
    assert _size(tmp_path / "names.png")


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        learning_curves(metrics_lines(2), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(FigureCanvasAgg, "print_figure", fail)
    with pytest.raises(RuntimeError, match="no picture today"):
        learning_curves(metrics_lines(1), tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_nothing_imports_pyplot() -> None:
    assert "matplotlib.pyplot" not in sys.modules


def test_smoothing_keeps_lines_and_evens_out_noise() -> None:
    line = np.linspace(3, 1, 200)
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])
    assert smoothed(np.tile([0.0, 1.0], 100)).std() < 0.1
    assert smoothed(np.array([5.0])).tolist() == [5.0]
    assert smoothed(np.array([])).tolist() == []


def test_shares_end_at_one_where_everything_is_right(tmp_path: Path, figures: list[Figure]) -> None:
    lines = [{**line, "accuracy": 1.0, "macro_f1": 1.0} for line in metrics_lines(2) if line["kind"] == "epoch"]
    learning_curves(lines, tmp_path / "curves.png")
    rows = [{"class": name, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1} for name in class_names(2)]
    class_scores(rows, tmp_path / "scores.png")
    shares, scores = figures[0].axes[1].yaxis, figures[1].axes[0].xaxis
    for axis in (shares, scores):
        low, high = axis.get_view_interval()
        ticks = [tick for tick in axis.get_ticklocs() if low <= tick <= high]
        assert len(ticks) > 2
        assert max(ticks) <= 1.0 + 1e-9


def test_the_steps_of_a_script_are_laid_out_by_the_epochs_that_they_name(tmp_path: Path, figures: list[Figure]) -> None:
    script = [{"kind": "step", "step": step, "epoch": (step - 1) // 10 + 1, "loss": 1 / step} for step in range(1, 31)]
    overlaid_curves([RunCurves("run", [metrics_lines(3)]), RunCurves("script", [script])], tmp_path / "curves.png")
    loss = figures[0].axes[0]
    assert loss.get_xlabel() == "epoch"
    assert max(float(np.max(line.get_xdata())) for line in loss.lines if len(np.atleast_1d(line.get_xdata()))) == 3.0
