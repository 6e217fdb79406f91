"""Cross-validation in one job: every sample tested once, and byte-equal whatever is killed in whichever fold."""

import csv
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

from tests.trainer_runs import (
    TrainerProcess,
    assert_same_results,
    attempts,
    kill_a_rank,
    kill_supervisor,
    metrics,
    running,
    tiny,
    train_to_end,
)

FOLDS = 3
TRAIN = tiny(
    epochs=2,
    data={"kind": "digits", "validation_fraction": 0.1, "split_seed": 7},
    validation={"folds": FOLDS},
    checkpoint={"every_steps": 5},
)
TOGETHER = ("folds/splits.csv", "summary.json", "predictions/test.csv", "classification_report.txt")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_to_end(tmp_path_factory.mktemp("undisturbed"), TRAIN)


def _summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _train_killed_in(fold: int, folder: Path, train: dict[str, Any], kill: Callable[[TrainerProcess], None]) -> None:
    with running(folder, train) as run:
        run.wait_until(lambda: len(metrics(folder / f"folds/{fold}")) >= 8)
        kill(run)
    if kill is kill_supervisor:
        train_to_end(folder, train)
    assert attempts(folder)[1]["resumed_from"] == f"folds/{fold}/step-00000005"


def _assert_same(folder: Path, undisturbed: Path, folds: int) -> None:
    for fold in range(folds):
        assert_same_results(folder / f"folds/{fold}", undisturbed / f"folds/{fold}")
    for name in TOGETHER:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_the_folds_are_those_that_scikit_learn_draws_with_the_same_seed(undisturbed: Path) -> None:
    bunch = load_digits()
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=7)
    expected = {
        sample: fold
        for fold, (_, tested) in enumerate(splitter.split(bunch.data, bunch.target))
        for sample in tested.tolist()
    }
    rows = _rows(undisturbed / "folds/splits.csv")
    assert {int(row["sample"]): int(row["fold"]) for row in rows} == expected
    assert [row["class"] for row in rows] == [str(label) for label in bunch.target]


def test_every_sample_is_tested_once_by_a_network_that_did_not_train_on_it(undisturbed: Path) -> None:
    fold_of = {row["sample"]: row["fold"] for row in _rows(undisturbed / "folds/splits.csv")}
    together = _rows(undisturbed / "predictions/test.csv")
    assert {row["sample"]: row["fold"] for row in together} == fold_of
    for fold in range(FOLDS):
        tested = [row["sample"] for row in _rows(undisturbed / f"folds/{fold}/predictions/test.csv")]
        assert tested == [sample for sample, its in fold_of.items() if its == str(fold)]
        samples = _summary(undisturbed / f"folds/{fold}")["samples"]
        assert sum(sum(counts.values()) for counts in samples.values()) == len(fold_of)


def test_the_summary_has_mean_and_deviation_over_folds_and_counts_over_samples(undisturbed: Path) -> None:
    summary, folds = _summary(undisturbed), [_summary(undisturbed / f"folds/{fold}") for fold in range(FOLDS)]
    accuracies = [fold["metrics"]["accuracy"] for fold in folds]
    assert summary["folds"]["mean"]["accuracy"] == summary["metrics"]["accuracy"] == statistics.fmean(accuracies)
    assert summary["folds"]["std"]["accuracy"] == statistics.stdev(accuracies) > 0
    assert [row["accuracy"] for row in summary["folds"]["metrics"]] == accuracies
    right = sum(row["correct"] == "true" for row in _rows(undisturbed / "predictions/test.csv"))
    assert sum(summary["confusion"][label][label] for label in range(10)) == right
    assert summary["report"]["accuracy"] == right / 1797


def test_a_rank_that_is_killed_in_a_later_fold_changes_nothing(tmp_path: Path, undisturbed: Path) -> None:
    _train_killed_in(1, tmp_path, TRAIN, kill_a_rank)
    _assert_same(tmp_path, undisturbed, FOLDS)


@pytest.mark.slow
def test_a_supervisor_that_is_killed_in_the_third_of_five_folds_changes_nothing(tmp_path: Path) -> None:
    train = {**TRAIN, "validation": {"folds": 5}}
    undisturbed = train_to_end(tmp_path / "undisturbed", train)
    _train_killed_in(2, tmp_path / "killed", train, kill_supervisor)
    _assert_same(tmp_path / "killed", undisturbed, 5)


@pytest.mark.slow
def test_more_epochs_continue_every_fold(tmp_path: Path, undisturbed: Path) -> None:
    # Constant learning rate, so that four epochs in one go and two and two are the same training.
    whole = train_to_end(tmp_path / "whole", {**TRAIN, "epochs": 4})
    train_to_end(tmp_path / "continued", TRAIN)
    train_to_end(tmp_path / "continued", {**TRAIN, "epochs": 4})
    for fold in range(FOLDS):
        names = [f"folds/{fold}/metrics.jsonl", f"folds/{fold}/predictions/test.csv"]
        assert [(tmp_path / "continued" / name).read_bytes() for name in names] == [
            (whole / name).read_bytes() for name in names
        ]
