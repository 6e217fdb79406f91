"""ROC, precision over recall, their areas, and top-k accuracy, against scikit-learn on fresh scores with ties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.sklearn_metrics import TOLERANCE
from trainer.metrics.ranking import (
    CURVE_POINTS,
    Curve,
    auc,
    average_precision,
    mean_of_defined,
    precision_recall_curve,
    roc_curve,
)
from trainer.metrics.thresholds import Flags, ThresholdCounts
from trainer.metrics.top_k import top_k_hits, true_class_ranks

# Few distinct values, so that most samples are tied, and any others; scikit-learn's curves take no infinity.
SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, 5e-324, 1 - 2**-53]),
    st.floats(0, 1, allow_subnormal=True),
    st.floats(-1e300, 1e300),
)
SAMPLES = st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=60)


def _split(samples: list[tuple[float, bool]]) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], Flags]:
    scores, positive = zip(*samples, strict=True)
    return np.array(scores, dtype=np.float64), np.array(positive)


def _many(seed: int, samples: int, levels: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], Flags]:
    """``samples`` scores of ``levels`` values, a fifth of them positives with higher scores."""
    rng = np.random.default_rng(seed)
    positive = rng.random(samples) < 0.2
    return np.round((rng.normal(size=samples) + positive) * levels / 8) / levels, positive


@given(samples=SAMPLES)
def test_areas_equal_scikit_learns(samples: list[tuple[float, bool]]) -> None:
    scores, positive = _split(samples)
    counts = ThresholdCounts.of_scores(scores, positive)
    if positive.any() and not positive.all():
        assert auc(counts) == pytest.approx(sk.roc_auc_score(positive, scores), abs=TOLERANCE)
    else:
        assert auc(counts) is None
    if positive.any():
        assert average_precision(counts) == pytest.approx(sk.average_precision_score(positive, scores), abs=TOLERANCE)
    else:
        assert average_precision(counts) is None


@given(samples=SAMPLES, seed=st.integers(0, 2**32))
def test_no_area_depends_on_the_order_of_the_samples(samples: list[tuple[float, bool]], seed: int) -> None:
    scores, positive = _split(samples)
    other = np.random.default_rng(seed).permutation(len(scores))
    mine = ThresholdCounts.of_scores(scores, positive)
    theirs = ThresholdCounts.of_scores(scores[other], positive[other])
    assert auc(mine) == auc(theirs)
    assert average_precision(mine) == average_precision(theirs)


@given(samples=SAMPLES)
def test_the_roc_curve_is_scikit_learns_with_fewer_points_on_its_straight_parts(
    samples: list[tuple[float, bool]],
) -> None:
    scores, positive = _split(samples)
    curve = roc_curve(ThresholdCounts.of_scores(scores, positive))
    if not positive.any() or positive.all():
        assert not len(curve.x)
        return
    x, y, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
    theirs = list(zip(x, y, strict=True))
    for point in zip(curve.x, curve.y, strict=True):
        assert min(np.hypot(point[0] - a, point[1] - b) for a, b in theirs) < TOLERANCE
    assert max(_distance(curve, a, b) for a, b in theirs) < TOLERANCE
    assert sk.auc(curve.x, curve.y) == pytest.approx(sk.roc_auc_score(positive, scores), abs=TOLERANCE)


def _distance(curve: Curve, x: float, y: float) -> float:
    """Of a point from the nearest segment."""
    start = np.stack((curve.x[:-1], curve.y[:-1]), axis=1)
    along = np.stack((curve.x[1:], curve.y[1:]), axis=1) - start
    offset = np.array([x, y]) - start
    lengths = np.maximum((along**2).sum(axis=1), 1e-300)  # points of a thinned curve may coincide
    share = np.clip((offset * along).sum(axis=1) / lengths, 0, 1)
    return float(np.hypot(*(offset - share[:, None] * along).T).min())


@given(samples=SAMPLES)
def test_the_precision_recall_curve_has_scikit_learns_points_where_recall_grows(
    samples: list[tuple[float, bool]],
) -> None:
    scores, positive = _split(samples)
    curve = precision_recall_curve(ThresholdCounts.of_scores(scores, positive))
    if not positive.any():
        assert not len(curve.x)
        return
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    # Theirs runs from all samples to none; where several thresholds have one recall, the highest threshold's is ours.
    best = dict(zip(np.round(recall, 9), precision, strict=True))
    assert np.round(curve.x, 9).tolist() == sorted(best)
    assert curve.y[1:] == pytest.approx([best[at] for at in np.round(curve.x[1:], 9)], abs=TOLERANCE)
    assert (curve.x[0], curve.y[0]) == (0.0, 1.0)


@given(seed=st.integers(0, 2**32), samples=st.integers(500, 3000), levels=st.sampled_from([30, 1000, 10**9]))
@settings(max_examples=15, deadline=None)
def test_a_thinned_curve_keeps_its_area_and_hardly_moves(seed: int, samples: int, levels: int) -> None:
    scores, positive = _many(seed, samples, levels)
    counts = ThresholdCounts.of_scores(scores, positive)
    roc, over_recall = roc_curve(counts), precision_recall_curve(counts)
    assert max(len(roc.x), len(over_recall.x)) <= CURVE_POINTS
    assert sk.auc(roc.x, roc.y) == pytest.approx(sk.roc_auc_score(positive, scores), abs=TOLERANCE)
    steps = float(np.diff(over_recall.x) @ over_recall.y[1:])
    assert steps == pytest.approx(sk.average_precision_score(positive, scores), abs=TOLERANCE)
    for curve in (roc, over_recall):
        assert (np.diff(curve.x) >= 0).all()
        assert ((curve.y >= 0) & (curve.y <= 1 + 1e-12)).all()
    x, y, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
    assert max(_distance(roc, a, b) for a, b in zip(x[::11], y[::11], strict=True)) < 1 / 50


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="score of sample 1 is not a number"):
        ThresholdCounts.of_scores(np.array([0.5, np.nan]), np.array([True, False]))


def test_no_samples_have_no_area() -> None:
    counts = ThresholdCounts.of_scores(np.zeros(0), np.zeros(0, dtype=bool))
    assert (auc(counts), average_precision(counts)) == (None, None)


def test_infinite_scores_are_the_highest_and_the_lowest() -> None:
    counts = ThresholdCounts.of_scores(np.array([np.inf, 1.0, -np.inf]), np.array([True, False, False]))
    assert auc(counts) == average_precision(counts) == 1.0


def test_a_mean_is_over_the_classes_that_have_a_value() -> None:
    assert mean_of_defined([None, 0.5, 1.0]) == 0.75
    assert mean_of_defined([None, 0.5, 1.0], [7, 3, 1]) == pytest.approx(0.625)
    assert mean_of_defined([None, None]) is None
    assert mean_of_defined([0.5], [0]) is None


@given(
    seed=st.integers(0, 2**32),
    samples=st.integers(1, 40),
    classes=st.integers(3, 8),
    levels=st.sampled_from([1, 3, 99]),
)
def test_top_k_accuracy_equals_scikit_learns_however_many_scores_are_equal(
    seed: int, samples: int, classes: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, levels, (samples, classes)) / levels, rng.integers(0, classes, samples)
    ranks = true_class_ranks(torch.from_numpy(scores), torch.from_numpy(labels)).numpy()
    for k in range(1, classes):
        expected = sk.top_k_accuracy_score(labels, scores, k=k, labels=range(classes), normalize=False)
        assert top_k_hits(ranks, k) == expected
    assert top_k_hits(ranks, classes) == samples
