"""Calibration bins and errors, against scikit-learn's bins and a formula written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from tests.sklearn_metrics import TOLERANCE
from trainer.metrics.calibration import UNITS, calibration_bins, expected_calibration_error, maximum_calibration_error

CONFIDENCES = st.one_of(
    st.floats(0, 1), st.sampled_from([0.0, 1.0, 5e-324]), st.integers(0, 15).map(lambda number: number / 15)
)
SAMPLES = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=60)


@given(samples=SAMPLES, bins=st.integers(2, 20))
def test_bins_are_scikit_learns_and_errors_follow_from_them(samples: list[tuple[float, bool]], bins: int) -> None:
    confidence, right = (np.array(column) for column in zip(*samples, strict=True))
    found = calibration_bins(confidence.astype(np.float64), right, bins)
    accuracy, mean = calibration_curve(right, confidence, n_bins=bins) if len({*right}) > 1 else (None, None)
    filled = found.count > 0
    if accuracy is not None:
        assert found.right[filled] / found.count[filled] == pytest.approx(accuracy, abs=TOLERANCE)
        assert found.confidence[filled] / found.count[filled] / UNITS == pytest.approx(mean, abs=TOLERANCE)
    assert found.count.sum() == len(samples)
    # Bins by a search of their bounds, in plain Python.
    edges = np.linspace(0, 1, bins + 1)
    members: dict[int, list[tuple[float, bool]]] = {}
    for sample in samples:
        members.setdefault(next(at for at in range(bins) if sample[0] <= edges[at + 1]), []).append(sample)
    gaps = {
        at: abs(sum(flag for _, flag in inside) - sum(value for value, _ in inside)) for at, inside in members.items()
    }
    assert expected_calibration_error(found) == pytest.approx(sum(gaps.values()) / len(samples), abs=TOLERANCE)
    worst = max(gap / len(members[at]) for at, gap in gaps.items())
    assert maximum_calibration_error(found) == pytest.approx(worst, abs=TOLERANCE)


@given(samples=SAMPLES, seed=st.integers(0, 2**32))
def test_no_sum_depends_on_the_order_of_the_samples(samples: list[tuple[float, bool]], seed: int) -> None:
    confidence, right = (np.array(column) for column in zip(*samples, strict=True))
    order = np.random.default_rng(seed).permutation(len(samples))
    mine, theirs = calibration_bins(confidence, right, 15), calibration_bins(confidence[order], right[order], 15)
    assert np.array_equal(mine.confidence, theirs.confidence)
    assert expected_calibration_error(mine) == expected_calibration_error(theirs)


def test_no_samples_have_no_error() -> None:
    found = calibration_bins(np.zeros(0), np.zeros(0, dtype=bool), 15)
    assert expected_calibration_error(found) == maximum_calibration_error(found) == 0.0


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_that_is_no_probability_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        calibration_bins(np.array([0.5, confidence]), np.array([True, True]), 15)
