"""Bootstrap intervals, against resampling the samples themselves and against what is known of their distribution."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from tests.sklearn_metrics import TOLERANCE, Labels, Outputs, Probabilities, calibration_error, draw_logits, softmax
from trainer.metrics.bootstrap import (
    percentile_interval,
    resampled_calibration_errors,
    resampled_macro_f1,
    resampled_shares,
)
from trainer.metrics.bootstrap_areas import (
    MOST_WORK,
    AreaIntervals,
    linear_area_intervals,
    macro_area_intervals,
    resampled_macro_areas,
)

CLASSES = 4


def _tested(seed: int, samples: int, absent: tuple[int, ...] = ()) -> Outputs:
    logits, labels = draw_logits(np.random.default_rng(seed), samples, CLASSES, absent)
    return Outputs(softmax(logits), labels)


def _resamples(tested: Outputs, count: int, seed: int) -> list[Outputs]:
    """Samples drawn with replacement, as a textbook has it."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(tested.labels), (count, len(tested.labels)))
    return [Outputs(tested.probabilities[rows], tested.labels[rows]) for rows in drawn]


def _same_distribution(mine: Any, theirs: Any) -> bool:
    """Nothing in two sets of values speaks against it (two-sample Kolmogorov-Smirnov test); seeds are fixed."""
    return bool(stats.ks_2samp(mine, theirs).pvalue > 0.01)


def _macro_f1(tested: Outputs) -> float:
    return float(sk.f1_score(tested.labels, tested.predicted, labels=range(CLASSES), average="macro", zero_division=0))


def test_accuracies_are_distributed_as_those_of_resampled_samples() -> None:
    tested = _tested(0, 150)
    plain = [float((part.predicted == part.labels).mean()) for part in _resamples(tested, 2000, 1)]
    hits = int((tested.predicted == tested.labels).sum())
    assert _same_distribution(resampled_shares(hits, 150, 2000, np.random.default_rng(2)), plain)
    assert not _same_distribution(resampled_shares(hits - 8, 150, 2000, np.random.default_rng(2)), plain)


def test_macro_f1_is_distributed_as_that_of_resampled_samples_with_an_absent_class() -> None:
    tested = _tested(3, 60, absent=(2,))
    confusion = sk.confusion_matrix(tested.labels, tested.predicted, labels=range(CLASSES))
    plain = [_macro_f1(part) for part in _resamples(tested, 400, 4)]
    assert _same_distribution(resampled_macro_f1(confusion, 4000, np.random.default_rng(5)), plain)


def test_calibration_errors_are_distributed_as_those_of_resampled_samples() -> None:
    tested = _tested(6, 150)
    confidence, right = tested.probabilities.max(axis=1), tested.predicted == tested.labels
    plain = [calibration_error(part, 10) for part in _resamples(tested, 1000, 7)]
    mine = resampled_calibration_errors(confidence, right, 10, 4000, np.random.default_rng(8))
    assert _same_distribution(mine, plain)


@given(
    seed=st.integers(0, 2**32),
    samples=st.integers(1, 30),
    absent=st.sets(st.integers(1, 3), max_size=3),
)
@settings(max_examples=15, deadline=None)
def test_areas_of_each_resample_equal_scikit_learns_of_the_samples_that_it_drew(
    seed: int, samples: int, absent: set[int]
) -> None:
    tested = _tested(seed, samples, tuple(absent))
    aucs, average_precisions = resampled_macro_areas(
        tested.probabilities, tested.labels, 6, np.random.default_rng(seed)
    )
    drawn = np.random.default_rng(seed).integers(0, samples, (samples, 6))
    expected_aucs, expected_precisions = [], []
    for rows in drawn.T:
        labels, scores = tested.labels[rows], tested.probabilities[rows]
        present = [label for label in range(CLASSES) if (labels == label).any()]
        expected_precisions.append(
            np.mean([sk.average_precision_score(labels == label, scores[:, label]) for label in present])
        )
        if len(present) > 1:
            expected_aucs.append(np.mean([sk.roc_auc_score(labels == label, scores[:, label]) for label in present]))
    assert aucs == pytest.approx(expected_aucs, abs=TOLERANCE)
    assert average_precisions == pytest.approx(expected_precisions, abs=TOLERANCE)


def _normal_scores(seed: int, positives: int, negatives: int, distance: float = 1.0) -> tuple[Probabilities, Labels]:
    """Two classes; scores for the first are normal, and higher for its own samples."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=positives + negatives)
    scores[:positives] += distance
    return np.stack((scores, -scores), axis=1), np.repeat([0, 1], (positives, negatives))


def test_intervals_without_draws_agree_with_those_of_resamples() -> None:
    tested = _tested(9, 3000, absent=(1,))
    drawn = macro_area_intervals(
        tested.probabilities, tested.labels, resamples=2000, confidence=0.9, rng=np.random.default_rng(10)
    )
    linear = linear_area_intervals(tested.probabilities, tested.labels, 0.9)
    for mine, theirs in ((linear.auc, drawn.auc), (linear.average_precision, drawn.average_precision)):
        assert mine is not None
        assert theirs is not None
        assert mine == pytest.approx(theirs, abs=0.1 * (theirs[1] - theirs[0]))


@given(seed=st.integers(0, 2**32), samples=st.integers(15, 30))
@settings(max_examples=5, deadline=None)
def test_the_influence_of_a_sample_is_the_derivative_by_its_weight(seed: int, samples: int) -> None:
    scores, labels = _normal_scores(seed, samples // 3, samples - samples // 3)
    scores = np.round(scores * 4)  # with ties
    reach = NormalDist().inv_cdf(0.8413447460685429)  # one standard deviation
    found = linear_area_intervals(scores, labels, 2 * 0.8413447460685429 - 1)
    step = 1e-5
    for interval, area in ((found.auc, sk.roc_auc_score), (found.average_precision, sk.average_precision_score)):

        def mean(weights: Probabilities, area: Any = area) -> float:
            return float(np.mean([area(labels == at, scores[:, at], sample_weight=weights) for at in (0, 1)]))

        slopes = []
        for sample in range(samples):
            nudge = step * (np.arange(samples) == sample)
            slopes.append((mean(1 + nudge) - mean(1 - nudge)) / (2 * step))
        whole, deviation = mean(np.ones(samples)), math.sqrt(math.fsum(slope**2 for slope in slopes))
        expected = (max(whole - reach * deviation, 0.0), min(whole + reach * deviation, 1.0))
        assert interval == pytest.approx(expected, abs=TOLERANCE)


def test_much_work_is_not_done_by_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = _normal_scores(0, 40, 60)
    resamples = MOST_WORK // scores.size + 1

    def found() -> AreaIntervals:
        return macro_area_intervals(scores, labels, resamples=resamples, confidence=0.9, rng=np.random.default_rng(0))

    assert found() == linear_area_intervals(scores, labels, 0.9)


def test_nineteen_of_twenty_intervals_hold_the_true_accuracy() -> None:
    rng = np.random.default_rng(11)
    held = 0
    for hits in rng.binomial(400, 0.8, 300):
        low, high = percentile_interval(resampled_shares(int(hits), 400, 1000, rng), 0.95) or (1.0, 0.0)
        held += low <= 0.8 <= high
    assert 0.91 <= held / 300 <= 0.98


@pytest.mark.parametrize("linear", [True, False])
def test_nineteen_of_twenty_intervals_hold_the_true_area(linear: bool) -> None:
    true = NormalDist().cdf(1 / math.sqrt(2))
    held = 0
    for seed in range(200):
        scores, labels = _normal_scores(seed, 60, 90)
        if linear:
            found = linear_area_intervals(scores, labels, 0.95)
        else:
            rng = np.random.default_rng(seed)
            found = macro_area_intervals(scores, labels, resamples=300, confidence=0.95, rng=rng)
        low, high = found.auc or (1.0, 0.0)
        held += low <= true <= high
    assert 0.91 <= held / 200 <= 0.985


def test_a_classifier_that_is_always_right_has_no_width() -> None:
    scores, labels = np.eye(3)[[0, 1, 2, 0, 1, 2]], np.array([0, 1, 2, 0, 1, 2])
    found = macro_area_intervals(scores, labels, resamples=50, confidence=0.95, rng=np.random.default_rng(0))
    assert found == AreaIntervals((1.0, 1.0), (1.0, 1.0)) == linear_area_intervals(scores, labels, 0.95)


def test_nothing_to_resample_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    assert percentile_interval(resampled_shares(0, 0, 10, rng), 0.95) is None
    assert percentile_interval(resampled_macro_f1(np.zeros((2, 2), dtype=np.int64), 10, rng), 0.95) is None
    none = np.zeros((0, 2)), np.zeros(0, dtype=np.int64)
    assert macro_area_intervals(*none, resamples=10, confidence=0.95, rng=rng) == AreaIntervals(None, None)
    assert linear_area_intervals(*none, 0.95) == AreaIntervals(None, None)


def test_one_class_alone_has_an_average_precision_and_no_area_under_roc() -> None:
    scores, labels = np.array([[0.2], [0.7]]), np.zeros(2, dtype=np.int64)
    found = macro_area_intervals(scores, labels, resamples=10, confidence=0.95, rng=np.random.default_rng(0))
    assert found == AreaIntervals(None, (1.0, 1.0)) == linear_area_intervals(scores, labels, 0.95)
