"""Greedy and beam search, against every output there is.

In float64, where the order of sums makes differences of 1e-15.
"""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from trainer.config.model import LstmSequenceToSequence
from trainer.data.vocabulary import BEGIN, END, PAD, SPECIAL_IDS, UNKNOWN
from trainer.decoding import Decoded, beam_search, greedy
from trainer.models.lstm_seq2seq import DecoderState, LstmSeq2Seq, Memory, build_lstm_seq2seq

WORDS = 3
"""Tokens that an output can hold."""
LONGEST = 3
ALL = (WORDS + 1) ** LONGEST
"""More than there are outputs of up to LONGEST tokens."""

SEEDS = st.integers(0, 2**32 - 1)
PENALTIES = st.sampled_from([0.0, 0.5, 1.0, 2.0])


def _model(seed: int, **fields: Any) -> LstmSeq2Seq:
    torch.manual_seed(seed)
    config = LstmSequenceToSequence.model_validate({"name": "lstm-seq2seq", "embedding": 4, "hidden": 8, **fields})
    model = build_lstm_seq2seq(config, 9, SPECIAL_IDS + WORDS).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # without offsets, so that outputs follow the source and differ in length
            torch.nn.init.normal_(parameter) if parameter.ndim > 1 else torch.nn.init.zeros_(parameter)
    return model


def _sources(seed: int, count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (count,), generator=generator)
    source = torch.randint(SPECIAL_IDS, 9, (count, int(lengths.max())), generator=generator)
    return source.where(torch.arange(source.shape[1]) < lengths.unsqueeze(1), PAD), lengths


@torch.no_grad()
def _log_probability(model: LstmSeq2Seq, source: Tensor, output: list[int]) -> float:
    """Of ``output`` and its END, by a pass with the true tokens; ``source`` is [S] without padding."""
    target, expected = torch.tensor([[BEGIN, *output]]), torch.tensor([*output, END])
    logits = model(source.unsqueeze(0), torch.tensor([len(source)]), target)[0]
    return -functional.cross_entropy(logits, expected, reduction="sum").item()


@given(seed=SEEDS, penalty=PENALTIES)
@settings(deadline=None, max_examples=15)
def test_a_beam_as_wide_as_there_are_outputs_finds_the_best_of_them_all(seed: int, penalty: float) -> None:
    model, (source, lengths) = _model(seed), _sources(seed)
    found = beam_search(model, source, lengths, beam=ALL, length_penalty=penalty, max_tokens=LONGEST)
    words = range(SPECIAL_IDS, SPECIAL_IDS + WORDS)
    outputs = [list(output) for length in range(LONGEST + 1) for output in product(words, repeat=length)]
    assert len(outputs) < ALL
    for row, length in enumerate(lengths.tolist()):
        chances = [_log_probability(model, source[row, :length], output) for output in outputs]
        scores = [chance / (len(output) + 1) ** penalty for chance, output in zip(chances, outputs, strict=True)]
        best = max(range(len(outputs)), key=scores.__getitem__)
        assert found.lists()[row] == outputs[best]
        assert found.log_probability[row].item() == pytest.approx(chances[best], abs=1e-9)


@given(seed=SEEDS, beam=st.integers(1, 6), penalty=PENALTIES, max_tokens=st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_log_probabilities_are_those_of_a_pass_with_the_true_tokens(
    seed: int, beam: int, penalty: float, max_tokens: int
) -> None:
    model, (source, lengths) = _model(seed, layers=2, attention="dot"), _sources(seed)
    for found in (
        greedy(model, source, lengths, max_tokens=max_tokens),
        beam_search(model, source, lengths, beam=beam, length_penalty=penalty, max_tokens=max_tokens),
    ):
        assert found.log_probability.dtype == torch.float64
        for row, output in enumerate(found.lists()):
            expected = _log_probability(model, source[row, : lengths[row]], output)
            assert found.log_probability[row].item() == pytest.approx(expected, abs=1e-9)


@given(seed=SEEDS, penalty=PENALTIES, max_tokens=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_a_beam_of_one_is_greedy(seed: int, penalty: float, max_tokens: int) -> None:
    model, (source, lengths) = _model(seed), _sources(seed, count=8)
    one = beam_search(model, source, lengths, beam=1, length_penalty=penalty, max_tokens=max_tokens)
    plain = greedy(model, source, lengths, max_tokens=max_tokens)
    assert torch.equal(one.tokens, plain.tokens)
    assert torch.equal(one.lengths, plain.lengths)
    assert torch.equal(one.log_probability, plain.log_probability)


@given(seed=SEEDS)
@settings(deadline=None, max_examples=30)
def test_greedy_takes_the_likeliest_token_at_each_place(seed: int) -> None:
    model, (source, lengths) = _model(seed), _sources(seed)
    for row, output in enumerate(greedy(model, source, lengths, max_tokens=LONGEST).lists()):
        taken: list[int] = []
        while len(taken) < LONGEST:
            begun = torch.tensor([[BEGIN, *taken]])
            logits = model(source[row : row + 1, : lengths[row]], lengths[row : row + 1], begun)[0, -1]
            logits[[PAD, BEGIN, UNKNOWN]] = -torch.inf
            if logits.argmax() == END:
                break
            taken.append(int(logits.argmax()))
        assert output == taken


@given(seed=SEEDS, beam=st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_an_output_does_not_depend_on_padding_or_on_other_sources(seed: int, beam: int) -> None:
    model, (source, lengths) = _model(seed), _sources(seed)

    def search(source: Tensor, lengths: Tensor) -> Decoded:
        return beam_search(model, source, lengths, beam=beam, length_penalty=1.0, max_tokens=12)

    together = search(source, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = search(source[row : row + 1, :length], lengths[row : row + 1])
        assert alone.lists() == together.lists()[row : row + 1]
        torch.testing.assert_close(alone.log_probability[0], together.log_probability[row], rtol=0.0, atol=1e-9)


class Scripted:
    """A model that says the same at each place whatever came before; counts its steps."""

    def __init__(self, places: list[dict[int, float]]) -> None:
        self._logits = torch.full((len(places), SPECIAL_IDS + WORDS), -30.0)
        for logits, place in zip(self._logits, places, strict=True):
            for token, logit in place.items():
                logits[token] = logit
        self.steps = 0

    def encode(self, source: Tensor, source_lengths: Tensor) -> tuple[DecoderState, Memory]:
        nothing = torch.zeros(1, len(source), 1)
        return DecoderState(nothing, nothing), Memory(nothing, nothing, nothing)

    def step(self, tokens: Tensor, state: DecoderState, memory: Memory) -> tuple[Tensor, DecoderState]:
        logits = self._logits[min(self.steps, len(self._logits) - 1)]
        self.steps += 1
        return logits.expand(*tokens.shape, -1), state


A, B, C = range(SPECIAL_IDS, SPECIAL_IDS + WORDS)
TWO = (torch.tensor([[A, B], [C, PAD]]), torch.tensor([2, 1]))


def _both(model: Scripted, max_tokens: int, beam: int = 2) -> list[Decoded]:
    found = [greedy(model, *TWO, max_tokens=max_tokens)]
    model.steps = 0
    return [*found, beam_search(model, *TWO, beam=beam, length_penalty=1.0, max_tokens=max_tokens)]


def test_the_search_ends_when_all_outputs_have_ended() -> None:
    model = Scripted([{A: 5.0}, {B: 5.0}, {END: 5.0}])
    assert greedy(model, *TWO, max_tokens=50).lists() == [[A, B], [A, B]]
    assert model.steps == 3
    model = Scripted([{A: 5.0, B: 4.0}, {END: 5.0}])
    assert beam_search(model, *TWO, beam=2, length_penalty=1.0, max_tokens=50).lists() == [[A], [A]]
    assert model.steps == 2


def test_an_output_that_would_go_on_is_ended_at_the_limit() -> None:
    model = Scripted([{A: 5.0, END: 0.0}])
    for found in _both(model, max_tokens=4):
        assert found.lists() == [[A] * 4, [A] * 4]
        a, end = torch.tensor([5.0, 0.0]).log_softmax(0).tolist()
        assert found.log_probability.tolist() == pytest.approx([4 * a + end] * 2, abs=1e-6)


def test_a_beam_is_not_content_with_unlikely_outputs_that_ended_on_the_way() -> None:
    """At each place the end is the second likeliest, far behind: two have ended long before the likely output does."""
    model = Scripted([*[{A: 9.0, END: 0.0}] * 5, {END: 9.0, A: 0.0}])
    for found in _both(model, max_tokens=20):
        assert found.lists() == [[A] * 5, [A] * 5]


def test_an_output_may_be_empty() -> None:
    for found in _both(Scripted([{END: 5.0}]), max_tokens=4):
        assert found.tokens.shape == (2, 0)
        assert found.lengths.tolist() == [0, 0]
        assert found.log_probability.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("never", [PAD, BEGIN, UNKNOWN])
def test_special_ids_are_no_part_of_an_output_and_keep_their_probability(never: int) -> None:
    model = Scripted([{never: 5.0, A: 4.0}, {never: 5.0, END: 4.0}])
    _, second = torch.tensor([5.0, 4.0]).log_softmax(0).tolist()
    for found in _both(model, max_tokens=4):
        assert found.lists() == [[A], [A]]
        assert found.log_probability.tolist() == pytest.approx([2 * second] * 2, abs=1e-6)


def test_a_beam_finds_what_greedy_misses() -> None:
    """The likeliest first token leads nowhere: after it all are equally likely, after the other one the end is sure."""

    class Garden(Scripted):
        def step(self, tokens: Tensor, state: DecoderState, memory: Memory) -> tuple[Tensor, DecoderState]:
            logits, state = super().step(tokens, state, memory)
            sure = torch.full_like(logits, -30.0)
            sure[..., END] = 5.0
            return sure.where((tokens == B).unsqueeze(2), logits), state

    model = Garden([{A: 1.0, B: 0.9}, {A: 0.0, B: 0.0, C: 0.0, END: 0.0}])
    first, wide = _both(model, max_tokens=3)
    assert wide.lists() == [[B], [B]]
    assert (wide.log_probability > first.log_probability).all()


def test_the_length_penalty_decides_between_short_and_long() -> None:
    model, outputs = Scripted([{A: 0.0, END: 0.0}, {END: 5.0}]), []
    for penalty in (0.0, 1.0):
        model.steps = 0
        outputs.append(beam_search(model, *TWO, beam=2, length_penalty=penalty, max_tokens=4).lists()[0])
    assert outputs == [[], [A]]  # of about equal probability: the same for one token is less than for two


def test_tokens_are_padded_behind_each_output() -> None:
    found = Decoded(torch.tensor([[A, B], [C, PAD]]), torch.tensor([2, 1]), torch.zeros(2, dtype=torch.float64))
    assert found.lists() == [[A, B], [C]]
    model, (source, lengths) = _model(11), _sources(11, count=20)
    for found in (
        greedy(model, source, lengths, max_tokens=6),
        beam_search(model, source, lengths, beam=3, length_penalty=1.0, max_tokens=6),
    ):
        behind = torch.arange(found.tokens.shape[1]) >= found.lengths.unsqueeze(1)
        assert found.tokens.dtype == found.lengths.dtype == torch.int64
        assert len(set(found.lengths.tolist())) > 1
        assert found.lengths.amax() == found.tokens.shape[1]
        assert (found.tokens[behind] == PAD).all()
        assert (found.tokens[~behind] >= SPECIAL_IDS).all()


def test_half_precision_is_searched_in_float32_and_summed_in_float64() -> None:
    model, (source, lengths) = _model(0).float(), _sources(0)
    with torch.autocast("cpu", torch.bfloat16):
        for found in (
            greedy(model, source, lengths, max_tokens=6),
            beam_search(model, source, lengths, beam=3, length_penalty=1.0, max_tokens=6),
        ):
            assert found.log_probability.dtype == torch.float64
            assert (found.log_probability < 0).all()
            assert found.log_probability.isfinite().all()
