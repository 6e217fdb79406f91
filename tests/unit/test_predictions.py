"""The table of predictions."""

import csv
from pathlib import Path

import numpy as np
import pytest

from trainer.exits import StorageError
from trainer.output.predictions import HEADER, write_predictions

CLASSES = ("ant", "bee, honey", 'say "moo"')


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_line_a_sample_with_names_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    write_predictions(path, ["a/ä.jpg", "b,c"], np.array([0, 1]), np.array([0, 2]), np.array([0.5, 1 / 3]), CLASSES)
    assert _rows(path) == [
        list(HEADER),
        ["a/ä.jpg", "ant", "ant", "0.500000", "true"],
        ["b,c", "bee, honey", 'say "moo"', "0.333333", "false"],
    ]


def test_unknown_labels_stay_empty(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    write_predictions(path, ["x"], None, [1], [0.9], CLASSES)
    assert _rows(path)[1] == ["x", "", "bee, honey", "0.900000", ""]


def test_columns_of_different_length_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_predictions(tmp_path / "test.csv", ["x", "y"], [0, 1], [1], [0.9], CLASSES)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        write_predictions(tmp_path / "missing" / "test.csv", ["x"], [0], [0], [0.9], CLASSES)
