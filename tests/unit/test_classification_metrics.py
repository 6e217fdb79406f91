"""Everything that is measured of a tested classifier, as it lands in summary.json and evaluation.json."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.evaluated import Activation, class_names, evaluate
from tests.sklearn_metrics import TOLERANCE, Labels, assert_equal, draw_logits, softmax
from trainer.exits import NonFiniteError

ACTIVATIONS = st.sampled_from(["softmax", "sigmoid"])


def _measured(seed: int = 0, *, samples: int = 100, classes: int = 7, absent: tuple[int, ...] = (), **how: Any) -> Any:
    logits, labels = draw_logits(np.random.default_rng(seed), samples, classes, absent)
    return evaluate(logits, labels, **how)


@given(
    seed=st.integers(0, 2**32),
    samples=st.integers(1, 60),
    classes=st.integers(2, 8),
    absent=st.sets(st.integers(1, 7), max_size=5),
    activation=ACTIVATIONS,
    bins=st.integers(2, 20),
)
@settings(max_examples=40, deadline=None)
def test_every_metric_equals_scikit_learns(
    seed: int, samples: int, classes: int, absent: set[int], activation: Activation, bins: int
) -> None:
    logits, labels = draw_logits(np.random.default_rng(seed), samples, classes, tuple(absent))
    found = evaluate(logits, labels, activation=activation, top_k=[2, 3, 5], calibration_bins=bins, bootstrap=0)
    assert found is not None
    expected = softmax(logits) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    assert np.allclose(found["probabilities"], expected, rtol=0, atol=1e-12)
    assert_equal(found, labels, top_k=(2, 3, 5), bins=bins)
    names = class_names(classes)
    assert found["report"]["absent_classes"] == [names[label] for label in range(classes) if label not in labels]
    json.dumps(found, allow_nan=False)


def test_averages_of_areas_are_those_that_scikit_learn_has_for_several_classes() -> None:
    logits, labels = draw_logits(np.random.default_rng(3), 200, 5, ())
    found: Any = evaluate(logits, labels)
    probabilities = np.array(found["probabilities"])
    for average in ("macro", "weighted"):
        expected = sk.roc_auc_score(labels, probabilities, multi_class="ovr", average=average)
        assert found["report"][average]["auc"] == pytest.approx(expected, abs=TOLERANCE)
        expected = sk.average_precision_score(labels, probabilities, average=average)
        assert found["report"][average]["average_precision"] == pytest.approx(expected, abs=TOLERANCE)


def test_a_class_without_samples_is_named_and_has_no_areas() -> None:
    found = _measured(absent=(2, 6))
    assert found["report"]["absent_classes"] == ["class 2", "class 6"]
    row = found["report"]["classes"][2]
    assert (row["support"], row["recall"], row["auc"], row["average_precision"]) == (0, 0.0, None, None)
    assert found["evaluation"]["roc"]["classes"][2]["true_positive_rate"] == []
    assert found["evaluation"]["precision_recall"]["classes"][2]["recall"] == []


def test_averages_that_no_class_has_are_left_out_of_the_final_metrics() -> None:
    found = _measured(samples=1)
    assert found["report"]["macro"]["auc"] is None
    assert "macro_auc" not in found["scores"]
    assert found["scores"]["macro_average_precision"] == 1.0
    assert "macro_auc" not in found["intervals"]


def test_a_top_k_of_all_classes_is_left_out() -> None:
    scores = _measured(classes=5, top_k=[2, 4, 5, 9])["scores"]
    assert [name for name in scores if name.startswith("top")] == ["top_2_accuracy", "top_4_accuracy"]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_every_final_metric_has_an_interval(activation: Activation) -> None:
    found = _measured(activation=activation, bootstrap=500, confidence=0.9)
    intervals = dict(found["intervals"])
    assert (intervals.pop("confidence"), intervals.pop("resamples")) == (0.9, 500)
    assert list(intervals) == list(found["scores"])
    for name, (low, high) in intervals.items():
        assert 0 <= low < high <= 1
        if name != "calibration_error":  # too high in a resample
            assert low < found["scores"][name] < high


def test_intervals_follow_from_the_seed_alone() -> None:
    logits, labels = draw_logits(np.random.default_rng(5), 80, 6, (1,))
    first, again = (evaluate(logits, labels) for _ in range(2))
    assert first == again
    fewer: Any = evaluate(logits, labels, top_k=[])
    assert first is not None
    assert fewer["intervals"] == {key: value for key, value in first["intervals"].items() if key != "top_5_accuracy"}


def test_no_resamples_are_no_intervals() -> None:
    assert _measured(bootstrap=0)["intervals"] is None


@given(seed=st.integers(0, 2**32), absent=st.sets(st.integers(1, 4), max_size=3), activation=ACTIVATIONS)
@settings(max_examples=20, deadline=None)
def test_areas_of_histograms_come_with_a_bound_that_holds(seed: int, absent: set[int], activation: Activation) -> None:
    logits, labels = draw_logits(np.random.default_rng(seed), 50, 5, tuple(absent))
    options: dict[str, Any] = {"activation": activation, "bootstrap": 20}
    exact: Any = evaluate(logits, labels, **options)
    binned: Any = evaluate(logits, labels, auc="histogram", histogram_bins=16, **options)
    for mine, true in zip(binned["report"]["classes"], exact["report"]["classes"], strict=True):
        assert (mine["auc"] is None) == (true["auc"] is None)
        if true["auc"] is not None:
            assert abs(mine["auc"] - true["auc"]) <= mine["auc_error_bound"] + 1e-12
    error = abs(binned["scores"]["macro_auc"] - exact["scores"]["macro_auc"])
    assert error <= binned["report"]["auc_error_bound"] + 1e-12
    without = {"macro_auc", "macro_average_precision"}
    assert {k: v for k, v in binned["scores"].items() if k not in without} == {
        k: v for k, v in exact["scores"].items() if k not in without
    }
    assert {*binned["intervals"]} == {*exact["intervals"]} - without
    assert "precision_recall" not in binned["evaluation"]
    assert (binned["probabilities"], exact["histogram"]) == (None, None)
    json.dumps(binned, allow_nan=False)


@pytest.mark.parametrize("auc", ["exact", "histogram"])
def test_an_output_that_is_not_a_number_ends_the_test_with_its_sample(
    auc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object, images: Any) -> Any:
        return images.flatten(1).where(images.flatten(1) != 200, float("nan"))

    monkeypatch.setattr("torch.nn.Flatten.forward", broken)
    labels: Labels = np.array([0, 1, 2])
    with pytest.raises(NonFiniteError, match="test sample 1 is not a finite number"):
        evaluate(np.array([[5.0, 1, 1], [1, 200, 1], [2, 2, 2]]), labels, auc=auc)
