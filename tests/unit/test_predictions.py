"""The table of predictions."""

import csv
from pathlib import Path

import pytest

from trainer.exits import StorageError
from trainer.output.predictions import HEADER, write_predictions


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_line_a_sample_in_the_given_order(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    write_predictions(
        path,
        names=["a/ä.jpg", "b,c"],
        labels=["ant", "bee, honey"],
        predicted=["ant", 'say "moo"'],
        confidence=[0.5, 1 / 3],
    )
    assert _rows(path) == [
        list(HEADER),
        ["a/ä.jpg", "ant", "ant", "0.500000", "true"],
        ["b,c", "bee, honey", 'say "moo"', "0.333333", "false"],
    ]


def test_unknown_labels_stay_empty(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    write_predictions(path, names=["x"], labels=[None], predicted=["bee"], confidence=[0.9])
    assert _rows(path)[1] == ["x", "", "bee", "0.900000", ""]


def test_columns_of_different_length_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_predictions(tmp_path / "test.csv", names=["x", "y"], labels=["a", "b"], predicted=["a"], confidence=[0.9])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        write_predictions(tmp_path / "missing" / "x.csv", names=["x"], labels=["a"], predicted=["a"], confidence=[0.9])
