"""Vocabularies: ids that depend on the set of tokens alone, and text there and back."""

import json
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.vocabulary import BEGIN, END, PAD, SPECIAL_IDS, UNKNOWN, Vocabulary

WORDS = st.lists(st.lists(st.text(min_size=1), max_size=6), max_size=6)


@settings(deadline=None)
@given(WORDS)
def test_what_is_encoded_is_decoded(sequences: list[list[str]]) -> None:
    vocabulary = Vocabulary.of(sequences)
    for sequence in sequences:
        ids = vocabulary.encode(sequence)
        assert ids.dtype == torch.int32
        assert vocabulary.decode(ids.tolist()) == sequence
        assert all(SPECIAL_IDS <= number < len(vocabulary) for number in ids.tolist())


@settings(deadline=None)
@given(WORDS, st.randoms())
def test_the_order_of_the_sequences_does_not_matter(sequences: list[list[str]], random: Random) -> None:
    vocabulary = Vocabulary.of(sequences)
    random.shuffle(sequences)
    assert Vocabulary.of(sequences) == vocabulary
    assert list(vocabulary.tokens) == sorted({token for sequence in sequences for token in sequence})


def test_characters_of_a_text_are_tokens_too() -> None:
    vocabulary = Vocabulary.of(["bad", "cab"])
    assert vocabulary.tokens == ("a", "b", "c", "d")
    assert vocabulary.encode("dab").tolist() == [7, 4, 5]


def test_the_special_ids_come_first_and_are_the_same_everywhere() -> None:
    assert (PAD, BEGIN, END, UNKNOWN) == (0, 1, 2, 3)
    assert len(Vocabulary(())) == SPECIAL_IDS == 4


def test_an_unknown_token_is_read_as_such_and_shown() -> None:
    vocabulary = Vocabulary.of(["ab"])
    assert vocabulary.encode("axb").tolist() == [4, UNKNOWN, 5]
    assert vocabulary.decode([4, UNKNOWN, 5]) == ["a", "<unknown>", "b"]


def test_text_that_looks_like_a_special_token_is_an_ordinary_one() -> None:
    vocabulary = Vocabulary.of([["<unknown>", "<pad>"]])
    assert vocabulary.encode(["<pad>", "<unknown>"]).tolist() == [4, 5]


def test_decoding_stops_at_the_end_and_leaves_fillers_out() -> None:
    assert Vocabulary.of(["ab"]).decode([BEGIN, 5, PAD, 4, END, 5, 5]) == ["b", "a"]


@settings(deadline=None)
@given(WORDS)
def test_json_brings_it_back(sequences: list[list[str]]) -> None:
    vocabulary = Vocabulary.of(sequences)
    restored = Vocabulary(tuple(json.loads(json.dumps(vocabulary.tokens))))
    assert restored == vocabulary
    assert restored.encode("xyz").tolist() == vocabulary.encode("xyz").tolist()


def test_a_token_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="each token once"):
        Vocabulary(("a", "b", "a"))
