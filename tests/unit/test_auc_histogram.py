"""The area under the ROC curve of binned scores stays within its stated bound, whatever the scores."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.metrics.histogram import add_to_histogram, auc_error_bound, probability_edges
from trainer.metrics.ranking import auc
from trainer.metrics.thresholds import ThresholdCounts

BINS = st.sampled_from([16, 17, 100, 2048, 65536])
HARD = [0.0, 5e-324, 1e-310, 2.0**-1022, 1e-15, 0.5 - 2**-54, 0.5, 0.5 + 2**-53, 1 - 1e-15, 1 - 2**-53, 1.0]


@st.composite
def _on_bounds(draw: st.DrawFn) -> float:
    """A bound between two bins of some histogram, or the nearest number on either side."""
    edges = probability_edges(draw(BINS))
    edge = float(edges[draw(st.integers(0, len(edges) - 1))])
    return draw(st.sampled_from([edge, math.nextafter(edge, 0), math.nextafter(edge, 1)]))


SCORES = st.one_of(st.sampled_from(HARD), st.floats(0, 1, allow_subnormal=True), _on_bounds())
SAMPLES = st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=40)
IN_ONE_BIN = [(0.51 + 1e-9 * number, number >= 5) for number in range(10)]


def _binned(scores: torch.Tensor, labels: torch.Tensor, classes: int, bins: int, parts: int = 1) -> torch.Tensor:
    histogram = torch.zeros(classes, 2, bins, dtype=torch.int64)
    for part in torch.arange(len(labels)).tensor_split(parts):
        add_to_histogram(histogram, scores[part], labels[part], probability_edges(bins))
    return histogram


def _areas(samples: list[tuple[float, bool]], bins: int) -> tuple[float | None, float | None, float | None]:
    """The true area, the histogram's and its bound."""
    scores, positive = (np.array(column) for column in zip(*samples, strict=True))
    labels = torch.from_numpy((~positive).astype(np.int64))
    histogram = _binned(torch.from_numpy(scores.astype(np.float64)).unsqueeze(1), labels, 1, bins)
    rest, own = histogram[0].numpy()
    assert (own.sum(), rest.sum()) == (positive.sum(), (~positive).sum())
    counts = ThresholdCounts.of_bins(own, rest)
    return auc(ThresholdCounts.of_scores(scores, positive)), auc(counts), auc_error_bound(counts)


@given(samples=SAMPLES, bins=BINS)
@example(samples=IN_ONE_BIN, bins=16)
@example(samples=[(score, not positive) for score, positive in IN_ONE_BIN], bins=16)
@example(samples=[(0.3, bool(number % 2)) for number in range(9)], bins=2048)
@example(samples=[(0.5 + 1e-9 * number, bool(number % 2)) for number in range(20)], bins=2048)
@example(samples=[(float(number % 2), bool(number % 3)) for number in range(20)], bins=16)
@example(samples=[(number * 5e-324, number >= 5) for number in range(10)], bins=65536)
@example(samples=[(1 - number * 2**-53, number >= 5) for number in range(10)], bins=65536)
@settings(deadline=None)
def test_the_area_of_bins_is_within_its_bound_of_the_true_one(samples: list[tuple[float, bool]], bins: int) -> None:
    true, binned, bound = _areas(samples, bins)
    if true is None:
        assert binned is None
        assert bound is None
        return
    assert binned is not None
    assert bound is not None
    assert abs(binned - true) <= bound + 1e-12
    assert 0 <= bound <= 0.5


@pytest.mark.parametrize("reverse", [False, True])
def test_the_bound_is_reached_where_a_bin_hides_a_perfect_order(reverse: bool) -> None:
    samples = [(score, positive != reverse) for score, positive in IN_ONE_BIN]
    assert _areas(samples, 16) == (0.0 if reverse else 1.0, 0.5, 0.5)


def test_equal_scores_are_half_in_order_as_they_are_for_the_true_area() -> None:
    true, binned, _ = _areas([(0.3, bool(number % 2)) for number in range(9)], 2048)
    assert true == binned == 0.5


@pytest.mark.parametrize("bins", [16, 2048, 50021, 65536])
def test_bounds_never_fall_and_are_symmetric_about_a_half(bins: int) -> None:
    edges = probability_edges(bins)
    assert (edges.diff() >= 0).all()
    assert torch.allclose(edges + edges.flip(0), torch.ones_like(edges), rtol=0, atol=1e-15)


def test_scores_of_a_trained_network_have_a_narrow_bound_by_default() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (5000,), generator=generator)
    logits = 2 * torch.randn(5000, 10, generator=generator, dtype=torch.float64)
    logits[torch.arange(5000), labels] += 6
    histogram = _binned(logits.softmax(dim=1), labels, 10, 2048, parts=7).numpy()
    bounds = [auc_error_bound(ThresholdCounts.of_bins(own, rest)) for rest, own in histogram]
    assert max(bound for bound in bounds if bound is not None) < 1e-3


def test_batches_add_up_and_float32_scores_fall_where_their_doubles_do() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (501,), generator=generator)
    scores = torch.rand(501, 4, generator=generator)
    whole = _binned(scores.double(), labels, 4, 100)
    assert torch.equal(_binned(scores, labels, 4, 100, parts=5), whole)
    assert (whole.sum(dim=(1, 2)) == 501).all()
    assert torch.equal(whole[:, 1].sum(dim=1), torch.bincount(labels, minlength=4))
