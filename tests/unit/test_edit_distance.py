"""Edit distances against a plain dynamic programme, and the rates made of them."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.edit_distance import EditCounts, edit_counts, sequence_error_rate, token_error_rate

SEQUENCES = st.lists(st.integers(4, 7), max_size=12)
PAIRS = st.lists(st.tuples(SEQUENCES, SEQUENCES), max_size=8)


def _distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Wagner and Fischer, 1974, cell by cell."""
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            substituted = table[i - 1][j - 1] + (one[i - 1] != other[j - 1])
            table[i][j] = min(substituted, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


def _count(pairs: list[tuple[list[int], list[int]]]) -> EditCounts:
    return edit_counts([hypothesis for hypothesis, _ in pairs], [reference for _, reference in pairs])


@settings(deadline=None)
@given(SEQUENCES, SEQUENCES)
def test_edits_equal_the_dynamic_programme(hypothesis: list[int], reference: list[int]) -> None:
    counts = edit_counts([hypothesis], [reference])
    assert counts == (_distance(hypothesis, reference), len(reference), hypothesis != reference, 1)


@settings(deadline=None)
@given(PAIRS, PAIRS)
def test_counts_of_parts_add_up_to_those_of_the_whole(
    some: list[tuple[list[int], list[int]]], others: list[tuple[list[int], list[int]]]
) -> None:
    total = torch.tensor(_count(some)) + torch.tensor(_count(others))
    assert total.dtype == torch.int64
    assert EditCounts(*total.tolist()) == _count([*some, *others])


def test_rates_are_edits_a_reference_token_and_wrong_sequences_a_sequence() -> None:
    counts = edit_counts([[1, 2, 3], [1, 2], [9, 9, 9, 9], []], [[1, 2, 3], [1, 3, 4], [8], [5, 6]])
    assert counts == EditCounts(edits=0 + 2 + 4 + 2, reference_tokens=9, wrong_sequences=3, sequences=4)
    assert token_error_rate(counts) == pytest.approx(8 / 9)
    assert sequence_error_rate(counts) == pytest.approx(3 / 4)


def test_a_pronunciation_by_hand() -> None:
    said, true = ["K", "AE", "T", "S"], ["K", "AA", "T"]
    ids = {phoneme: number for number, phoneme in enumerate({*said, *true})}
    assert edit_counts([[ids[p] for p in said]], [[ids[p] for p in true]]).edits == 2


def test_the_token_error_rate_can_be_over_one() -> None:
    assert token_error_rate(edit_counts([[1, 2, 3]], [[4]])) == 3.0


def test_without_sequences_the_rates_are_zeros_not_errors() -> None:
    counts = edit_counts([], [])
    assert (token_error_rate(counts), sequence_error_rate(counts)) == (0.0, 0.0)


def test_hypotheses_must_be_as_many_as_references() -> None:
    with pytest.raises(ValueError, match="zip"):
        edit_counts([[1]], [[1], [2]])
