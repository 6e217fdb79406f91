"""Pictures: they appear whole, for every length of run and number of classes."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from trainer.output.plots import confusion_matrix, learning_curves, smoothed


def _metrics(epochs: int, *, splits: tuple[str, ...] = ("validation",)) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(1, 20 * max(epochs, 1) + 1):
        line = {"kind": "step", "step": step, "epoch": (step - 1) // 20 + 1}
        lines.append({**line, "loss": 2 / step, "lr": 0.001, "grad_norm": None if step == 3 else 1.0 + step % 3})
        if epochs and step % 20 == 0:
            scores = {"train_loss": 0.5, "loss": 3 / step, "accuracy": 1 - 2 / step, "macro_f1": 1 - 3 / step}
            lines += [
                {"kind": "epoch", "step": step, "epoch": step // 20, "split": split, **scores} for split in splits
            ]
    return lines


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


@pytest.mark.parametrize(
    "metrics",
    [_metrics(3), _metrics(1, splits=("validation", "test")), _metrics(0), _metrics(0)[:1], []],
    ids=["epochs", "two splits", "no epoch yet", "one step", "nothing"],
)
def test_learning_curves_are_drawn_for_any_run(tmp_path: Path, metrics: list[dict[str, Any]]) -> None:
    learning_curves(metrics, tmp_path / "curves.png")
    width, height = _size(tmp_path / "curves.png")
    assert 1000 < width < 1600
    assert 700 < height < 1200


@pytest.mark.parametrize("classes", [1, 2, 10, 21, 51, 300])
def test_confusion_matrices_are_drawn_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    confusion = np.random.default_rng(0).integers(0, 5, (classes, classes)) + 90 * np.eye(classes, dtype=np.int64)
    confusion_matrix(confusion, [f"a class called {index}" for index in range(classes)], tmp_path / "confusion.png")
    assert max(_size(tmp_path / "confusion.png")) < 1800


def test_classes_without_samples_leave_empty_rows(tmp_path: Path) -> None:
    confusion_matrix(np.zeros((3, 3), dtype=np.int64), ("a", "b", "c"), tmp_path / "empty.png")
    assert _size(tmp_path / "empty.png")


def test_names_with_dollar_signs_are_text_not_formulas(tmp_path: Path) -> None:
    confusion_matrix(np.eye(2, dtype=np.int64), ("$\\frac$", "b_$x"), tmp_path / "names.png")
    assert _size(tmp_path / "names.png")


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        learning_curves(_metrics(2), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(FigureCanvasAgg, "print_figure", fail)
    with pytest.raises(RuntimeError, match="no picture today"):
        learning_curves(_metrics(1), tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_nothing_imports_pyplot() -> None:
    assert "matplotlib.pyplot" not in sys.modules


def test_smoothing_keeps_lines_and_evens_out_noise() -> None:
    line = np.linspace(3, 1, 200)
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])
    assert smoothed(np.tile([0.0, 1.0], 100)).std() < 0.1
    assert smoothed(np.array([5.0])).tolist() == [5.0]
    assert smoothed(np.array([])).tolist() == []
