"""Metrics from one confusion matrix, against scikit-learn."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from trainer.metrics import classification_summary, classification_text, confusion_counts

CLASSES = 7


def _draw(seed: int, *, without: tuple[int, ...] = ()) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    allowed = [label for label in range(CLASSES) if label not in without]
    labels = rng.choice(allowed, 500)
    predictions = np.where(rng.random(500) < 0.6, labels, rng.choice(allowed, 500))
    return labels, predictions


CASES = {
    "all classes": _draw(0),
    "two classes in neither": _draw(1, without=(0, 4)),
    "a class never predicted": (_draw(2)[0], np.where(_draw(2)[1] == 3, 2, _draw(2)[1])),
    "a class without samples": (np.where(_draw(3)[0] == 6, 5, _draw(3)[0]), _draw(3)[1]),
    "all wrong": (np.zeros(10, dtype=int), np.ones(10, dtype=int)),
    "one sample": (np.array([2]), np.array([2])),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


def _confusion(labels: Any, predictions: Any) -> Any:
    return confusion_counts(torch.from_numpy(predictions), torch.from_numpy(labels), CLASSES).numpy()


def _summary(labels: Any, predictions: Any) -> dict[str, Any]:
    return classification_summary(_confusion(labels, predictions), tuple("abcdefg"))


def test_confusion_has_true_classes_by_row(case: Any) -> None:
    labels, predictions = case
    expected = sk.confusion_matrix(labels, predictions, labels=range(CLASSES))
    assert np.array_equal(_confusion(labels, predictions), expected)


def test_confusion_counts_add_up_over_batches() -> None:
    labels, predictions = _draw(9)
    halves = _confusion(labels[:123], predictions[:123]) + _confusion(labels[123:], predictions[123:])
    assert np.array_equal(halves, _confusion(labels, predictions))


def test_classes_agree_with_sklearn(case: Any) -> None:
    labels, predictions = case
    expected = sk.precision_recall_fscore_support(labels, predictions, labels=range(CLASSES), zero_division=0)
    rows = _summary(labels, predictions)["classes"]
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[name] for row in rows] == pytest.approx(list(column), abs=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_averages_agree_with_sklearn(case: Any, average: str) -> None:
    labels, predictions = case
    expected = sk.precision_recall_fscore_support(
        labels, predictions, labels=range(CLASSES), average=average, zero_division=0
    )
    summary = _summary(labels, predictions)
    assert list(summary[average].values()) == pytest.approx(expected[:3], abs=1e-12)
    assert summary["accuracy"] == pytest.approx(sk.accuracy_score(labels, predictions), abs=1e-12)


def test_no_samples_at_all_are_zeros_not_errors() -> None:
    summary = classification_summary(np.zeros((2, 2), dtype=np.int64), ("a", "b"))
    assert summary["accuracy"] == 0.0
    assert summary["weighted"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_the_summary_is_json() -> None:
    summary = _summary(*_draw(0))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_text_holds_what_sklearn_prints() -> None:
    labels, predictions = _draw(0)
    ours = classification_text(_summary(labels, predictions)).split()
    theirs = sk.classification_report(labels, predictions, target_names=list("abcdefg"), digits=4).split()
    assert ours == theirs


def test_names_that_do_not_match_the_matrix_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        classification_summary(np.zeros((3, 3), dtype=np.int64), ("a", "b"))
