"""The final metrics on one rank and on three with uneven shares: the same counts, and equal to scikit-learn's."""

import secrets
from typing import Any

import numpy as np
import pytest

from tests.evaluated import ALONE, Activation, evaluate
from tests.rank_processes import on_ranks
from tests.sklearn_metrics import assert_equal, draw_logits
from trainer.runtime.distributed import Ranks

RANKS = 3
# Samples, classes, absent ones, activation and options; 2 samples leave one of three ranks without any.
CASES: dict[str, tuple[int, int, tuple[int, ...], Activation, dict[str, Any]]] = {
    "uneven shards": (1601, 7, (), "softmax", {}),
    "absent classes": (100, 9, (0, 4), "softmax", {"top_k": [2, 5]}),
    "sigmoid": (98, 6, (5,), "sigmoid", {}),
    "fewer samples than ranks": (2, 6, (), "softmax", {}),
    "histograms": (100, 6, (2,), "softmax", {"auc": "histogram", "histogram_bins": 64}),
    "histograms, fewer samples than ranks": (2, 3, (), "sigmoid", {"auc": "histogram", "histogram_bins": 16}),
}


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[Any, Any, Any]]:
    """By case: on one rank, on three, and the labels. All in one group of processes, on fresh samples."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    drawn = {name: draw_logits(rng, samples, classes, absent) for name, (samples, classes, absent, *_) in CASES.items()}

    def everything(ranks: Ranks) -> dict[str, dict[str, Any] | None]:
        return {
            name: evaluate(*drawn[name], ranks, activation, **options)
            for name, (*_, activation, options) in CASES.items()
        }

    shared, *others = on_ranks(RANKS, everything)
    assert all(found is None for other in others for found in other.values()), "only rank 0 keeps what was said"
    alone = everything(ALONE)
    return {name: (alone[name], shared[name], drawn[name][1]) for name in CASES}


@pytest.mark.parametrize("case", CASES)
def test_three_ranks_measure_what_one_measures(case: str, measured: dict[str, tuple[Any, Any, Any]]) -> None:
    alone, shared, labels = measured[case]
    assert np.sum(shared["confusion"]) == len(labels)
    # Of float32 sums over batches, which are others on one rank.
    assert shared.pop("loss") == pytest.approx(alone.pop("loss"), rel=1e-6)
    assert shared == alone


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if "auc" not in case[-1]])
def test_metrics_of_three_ranks_equal_scikit_learns(case: str, measured: dict[str, tuple[Any, Any, Any]]) -> None:
    _, shared, labels = measured[case]
    assert_equal(shared, labels, top_k=tuple(CASES[case][-1].get("top_k", (5,))))
