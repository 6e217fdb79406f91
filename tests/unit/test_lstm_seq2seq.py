"""The LSTM encoder and decoder: against loops in plain steps, padding without influence, scheduled sampling, learning.

Comparisons run in float64, where the order of sums makes differences of 1e-15, so 1e-9 tells a fault from rounding.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import HashStore
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from trainer.config.model import LstmSequenceToSequence
from trainer.data.vocabulary import BEGIN, END, PAD, SPECIAL_IDS
from trainer.decoding import greedy
from trainer.models.lstm_seq2seq import (
    AdditiveAttention,
    DotAttention,
    LstmSeq2Seq,
    Memory,
    attend,
    build_lstm_seq2seq,
)

SEEDS = st.integers(0, 2**32 - 1)
SOURCE_TOKENS, TARGET_TOKENS = 11, 9
FORMS = pytest.mark.parametrize("fields", [{"attention": "additive", "layers": 1}, {"attention": "dot", "layers": 2}])

Batch = tuple[Tensor, Tensor, Tensor]


def _model(seed: int = 0, **fields: Any) -> LstmSeq2Seq:
    torch.manual_seed(seed)
    config = LstmSequenceToSequence(name="lstm-seq2seq", **{"embedding": 6, "hidden": 5, **fields})
    model = build_lstm_seq2seq(config, SOURCE_TOKENS, TARGET_TOKENS).double()
    with torch.no_grad():
        for parameter in model.parameters():  # far from zero, where formulas look alike and predictions are constant
            nn.init.normal_(parameter) if parameter.ndim > 1 else nn.init.normal_(parameter, std=0.1)
    return model


def _sequences(seed: int, tokens: int, count: int = 5, longest: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(SPECIAL_IDS, tokens, (length,), generator=generator) for length in lengths]


def _padded(sequences: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PAD)


def _batch(seed: int = 0) -> Batch:
    """Five pairs: sources, their lengths, and decoder inputs."""
    sources, targets = _sequences(seed, SOURCE_TOKENS), _sequences(seed + 1, TARGET_TOKENS)
    begun = [functional.pad(target, (1, 0), value=BEGIN) for target in targets]
    return _padded(sources), torch.tensor([len(source) for source in sources]), _padded(begun)


def _assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-9)


def _one(batch: Batch, row: int) -> Batch:
    """A pair of ``batch`` by itself, without padding."""
    source, lengths, target = batch
    return source[row : row + 1, : lengths[row]], lengths[row : row + 1], target[row : row + 1][:, target[row] != PAD]


@FORMS
@given(seed=SEEDS)
@settings(deadline=None, max_examples=20)
def test_a_pairs_logits_do_not_depend_on_padding_or_on_other_pairs(seed: int, fields: dict[str, Any]) -> None:
    model, batch = _model(seed, **fields), _batch(seed)
    logits = model(*batch)
    assert logits.shape == (*batch[2].shape, TARGET_TOKENS)
    for row in range(len(logits)):
        alone = model(*_one(batch, row))[0]
        _assert_close(logits[row, : len(alone)], alone)


@FORMS
def test_what_stands_at_padding_has_no_influence(fields: dict[str, Any]) -> None:
    model, (source, lengths, target) = _model(**fields), _batch()
    wider = functional.pad(source, (0, 3), value=PAD)
    padding = torch.arange(wider.shape[1]) >= lengths.unsqueeze(1)
    filled = torch.randint(SPECIAL_IDS, SOURCE_TOKENS, wider.shape).where(padding, wider)
    _assert_close(model(filled, lengths, target), model(source, lengths, target))


@FORMS
def test_a_token_has_no_influence_on_the_logits_before_it(fields: dict[str, Any]) -> None:
    model, (source, lengths, target) = _model(**fields), _batch()
    changed = target.clone()
    changed[:, 2] = SPECIAL_IDS + (changed[:, 2] + 1) % (TARGET_TOKENS - SPECIAL_IDS)
    before, after = model(source, lengths, target), model(source, lengths, changed)
    _assert_close(after[:, :2], before[:, :2])
    assert (after[:, 2:] - before[:, 2:]).abs().amax() > 1e-3


@given(seed=SEEDS)
@settings(deadline=None, max_examples=20)
def test_the_encoder_reads_each_sequence_from_its_own_two_ends(seed: int) -> None:
    """Against two one-directional LSTMs with the same weights, one of them over the sequence turned round."""
    model, (source, lengths, _) = _model(seed), _batch(seed)
    forward, backward = (nn.LSTM(6, 5, batch_first=True).double() for _ in range(2))
    weights = model.encoder.state_dict()
    forward.load_state_dict({name: value for name, value in weights.items() if not name.endswith("_reverse")})
    backward.load_state_dict(
        {name.removesuffix("_reverse"): weights[f"{name}_reverse"] for name in forward.state_dict()}
    )
    state, memory = model.encode(source, lengths)
    for row, length in enumerate(lengths.tolist()):
        embedded = model.source_embedding(source[row : row + 1, :length])
        there, (hidden_there, cell_there) = forward(embedded)
        back, (hidden_back, cell_back) = backward(embedded.flip(1))
        _assert_close(memory.states[row, :length], torch.cat((there, back.flip(1)), dim=2)[0])
        assert not memory.states[row, length:].any()
        assert memory.mask[row].tolist() == [True] * length + [False] * (source.shape[1] - length)
        hidden = torch.tanh(model.bridge_hidden[0](torch.cat((hidden_there, hidden_back), dim=2)))
        cell = torch.tanh(model.bridge_cell[0](torch.cat((cell_there, cell_back), dim=2)))
        _assert_close(state.hidden[:, row : row + 1], hidden)
        _assert_close(state.cell[:, row : row + 1], cell)


def test_each_layer_of_the_decoder_begins_with_the_same_layer_of_the_encoder() -> None:
    model, (source, lengths, _) = _model(layers=3), _batch()
    state, _ = model.encode(source[:1, : lengths[0]], lengths[:1])
    _, (hidden, cell) = model.encoder(model.source_embedding(source[:1, : lengths[0]]))
    for layer in range(3):  # PyTorch's order: layer 0 forward, layer 0 backward, layer 1 forward, ...
        both = torch.cat((hidden[2 * layer], hidden[2 * layer + 1]), dim=1)
        _assert_close(state.hidden[layer], torch.tanh(model.bridge_hidden[layer](both)))
        both = torch.cat((cell[2 * layer], cell[2 * layer + 1]), dim=1)
        _assert_close(state.cell[layer], torch.tanh(model.bridge_cell[layer](both)))


def _memory(seed: int, attention: AdditiveAttention | DotAttention) -> tuple[Tensor, Memory]:
    """Queries [3, 4, 5], and a memory of states [3, 6, 10] with 6, 1 and 3 tokens."""
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    states = torch.randn(3, 6, 10, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [1], [3]])
    return queries, Memory(states, attention.key(states), mask)


def _attend_in_loops(scores: list[list[list[Tensor]]], memory: Memory) -> Tensor:
    """Softmax over tokens alone, and the weighted mean, number by number."""
    contexts = torch.zeros(3, 4, 10, dtype=torch.float64)
    for b, t in ((b, t) for b in range(3) for t in range(4)):
        tokens = [s for s in range(6) if memory.mask[b, s]]
        total = sum(scores[b][t][s].exp() for s in tokens)
        for s in tokens:
            contexts[b, t] += scores[b][t][s].exp() / total * memory.states[b, s]
    return contexts


@given(seed=SEEDS)
@settings(deadline=None, max_examples=10)
def test_additive_attention_is_bahdanaus_formula(seed: int) -> None:
    torch.manual_seed(seed)
    attention = AdditiveAttention(5, 10, 7).double()
    queries, memory = _memory(seed, attention)
    w, b, u, v = attention.query.weight, attention.query.bias, attention.key.weight, attention.score.weight[0]
    scores = [
        [[v @ torch.tanh(w @ query + b + u @ state) for state in states] for query in rows]
        for rows, states in zip(queries, memory.states, strict=True)
    ]
    _assert_close(attend(attention(queries, memory), memory), _attend_in_loops(scores, memory))


@given(seed=SEEDS)
@settings(deadline=None, max_examples=10)
def test_dot_attention_is_the_scaled_general_formula(seed: int) -> None:
    torch.manual_seed(seed)
    attention = DotAttention(5, 10).double()
    queries, memory = _memory(seed, attention)
    scores = [
        [[query @ attention.key.weight @ state / 5**0.5 for state in states] for query in rows]
        for rows, states in zip(queries, memory.states, strict=True)
    ]
    _assert_close(attend(attention(queries, memory), memory), _attend_in_loops(scores, memory))


@FORMS
@given(seed=SEEDS)
@settings(deadline=None, max_examples=20)
def test_one_token_at_a_time_gives_the_logits_of_the_whole_target(seed: int, fields: dict[str, Any]) -> None:
    model, (source, lengths, target) = _model(seed, **fields), _batch(seed)
    others = target.roll(1, dims=0)  # a second output for each source: they must not be mixed up
    state, memory = model.encode(source, lengths)
    state = state.select(torch.arange(len(source)).repeat_interleave(2))
    logits = []
    for place in range(target.shape[1]):
        step, state = model.step(torch.stack((target[:, place], others[:, place]), dim=1), state, memory)
        logits.append(step)
    steps = torch.stack(logits, dim=2)
    _assert_close(steps[:, 0], model(source, lengths, target))
    _assert_close(steps[:, 1], model(source, lengths, others))


def test_a_state_is_selected_by_row() -> None:
    model, (source, lengths, _) = _model(layers=2), _batch()
    state, _ = model.encode(source, lengths)
    rows = torch.tensor([3, 0, 0])
    assert torch.equal(state.select(rows).hidden, state.hidden[:, rows])
    assert torch.equal(state.select(rows).cell, state.cell[:, rows])


def test_true_tokens_alone_are_plain_teacher_forcing_and_draw_nothing() -> None:
    model, batch = _model(), _batch()
    before = torch.get_rng_state()
    assert torch.equal(model(*batch, true_share=1.0), model(*batch))
    assert torch.equal(torch.get_rng_state(), before)


def _own_inputs(model: LstmSeq2Seq, batch: Batch) -> Tensor:
    """Decoder inputs with every token but BEGIN replaced by the model's likeliest, given the true ones before it."""
    predicted = model(*batch).argmax(dim=2)
    own = batch[2].clone()
    for row, place in (own != PAD).nonzero().tolist():
        if place > 0:
            own[row, place] = predicted[row, place - 1]
    return own


@FORMS
@pytest.mark.parametrize("seed", [0, 2, 3])  # whose predictions vary
def test_no_true_tokens_means_all_but_begin_are_the_models_own(seed: int, fields: dict[str, Any]) -> None:
    model, (source, lengths, target) = _model(seed, **fields), _batch(seed)
    own = _own_inputs(model, (source, lengths, target))
    assert len(set(own[:, 1:].flatten().tolist())) > 3
    assert not torch.equal(own, target)
    logits = model(source, lengths, target, true_share=0.0)
    _assert_close(logits, model(source, lengths, own))


def test_the_share_of_true_tokens_is_the_one_asked_for() -> None:
    model, target = _model(), torch.full((64, 65), SPECIAL_IDS)
    with torch.no_grad():
        model.output.bias[SPECIAL_IDS + 1] = 100.0  # what it says is never the true token
    target[:, 0] = BEGIN
    fed: list[Tensor] = []
    model.target_embedding.register_forward_hook(lambda _module, inputs, _output: fed.append(inputs[0]))
    model(target, torch.full((64,), 65), target, true_share=0.7)
    true, mixed = fed
    assert torch.equal(true, target)
    assert (mixed[:, 0] == BEGIN).all()
    kept = (mixed[:, 1:] == SPECIAL_IDS).double().mean().item()
    assert set(mixed[:, 1:].flatten().tolist()) == {SPECIAL_IDS, SPECIAL_IDS + 1}
    assert kept == pytest.approx(0.7, abs=5 * (0.7 * 0.3 / 4096) ** 0.5)


def test_replacements_follow_the_seed() -> None:
    model, batch = _model(dropout=0.3), _batch()
    logits = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        logits.append(model(*batch, true_share=0.5))
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    """The next token's cross-entropy; the last place expects END."""
    expected = functional.pad(target[:, 1:], (0, 1), value=END)
    return functional.cross_entropy(logits.flatten(0, 1).float(), expected.flatten(), ignore_index=PAD)


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}


@FORMS
@pytest.mark.parametrize("true_share", [1.0, 0.5, 0.0])
def test_the_gradient_reaches_every_parameter(fields: dict[str, Any], true_share: float) -> None:
    model, batch = _model(**fields, dropout=0.1), _batch()
    torch.autograd.backward(_loss(model(*batch, true_share), batch[2]))
    assert _gradients(model).keys() == dict(model.named_parameters()).keys()
    for embedding in (model.source_embedding, model.target_embedding):
        assert embedding.weight.grad is not None
        assert not embedding.weight.grad[PAD].any()


@FORMS
@pytest.mark.parametrize("true_share", [1.0, 0.5, 0.0])
def test_bfloat16_gives_the_gradients_of_float32_but_for_rounding(fields: dict[str, Any], true_share: float) -> None:
    """With sampling too: its first pass casts the weights without gradients, and must leave no such copies behind.

    Newer versions of torch than the oldest supported leave none in any case.
    """
    (source, lengths, target), gradients = _batch(), []
    for enabled in (False, True):
        model = _model(**fields).float()
        with torch.no_grad():
            model.output.bias[SPECIAL_IDS] += 50.0  # so that both say the same
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = model(source, lengths, target, true_share)
            assert logits.dtype == (torch.bfloat16 if enabled else torch.float32)
            torch.autograd.backward(_loss(logits, target))
        gradients.append(_gradients(model))
    plain, rounded = gradients
    assert rounded.keys() == dict(model.named_parameters()).keys()
    for name, gradient in plain.items():
        similarity = functional.cosine_similarity(gradient.flatten(), rounded[name].flatten().float(), dim=0)
        assert similarity > 0.99, name


@pytest.fixture
def group() -> Iterator[None]:
    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("true_share", [1.0, 0.5])
def test_data_parallel_finds_a_gradient_for_every_parameter_at_each_step(true_share: float) -> None:
    """It raises at the second step where a parameter had none."""
    model, batch = _model(), _batch()
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)
    for step in range(3):
        model.zero_grad()
        torch.manual_seed(step)
        torch.autograd.backward(_loss(parallel(*batch, true_share), batch[2]))
    shared = {name: gradient.clone() for name, gradient in _gradients(model).items()}
    model.zero_grad()
    torch.manual_seed(2)
    torch.autograd.backward(_loss(model(*batch, true_share), batch[2]))
    assert shared.keys() == dict(model.named_parameters()).keys()
    for name, gradient in _gradients(model).items():
        _assert_close(shared[name], gradient)


def test_dropout_acts_while_training_only() -> None:
    model, batch = _model(dropout=0.5), _batch()
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    assert torch.equal(model(*batch), model(*batch))


def test_dropout_is_also_between_layers() -> None:
    assert [_model(dropout=0.5, layers=layers).decoder.dropout for layers in (1, 2)] == [0.0, 0.5]


def test_the_seed_decides_the_weights() -> None:
    weights = [nn.utils.parameters_to_vector(_model(seed).parameters()) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_names_of_the_tensors_stay() -> None:
    """Checkpoints hold them."""
    lstm = [f"{kind}_{way}_l0" for kind in ("weight", "bias") for way in ("ih", "hh")]
    both = [f"encoder.{name}{direction}" for direction in ("", "_reverse") for name in lstm]
    linear = ["bridge_hidden.0", "bridge_cell.0", "attention.query", "combine", "output"]
    assert sorted(_model(attention="additive").state_dict()) == sorted(
        [
            *("source_embedding.weight", "target_embedding.weight", "attention.key.weight", "attention.score.weight"),
            *both,
            *(f"decoder.{name}" for name in lstm),
            *(f"{name}.{kind}" for name in linear for kind in ("weight", "bias")),
        ]
    )


@pytest.mark.parametrize("flattened", [False, True])
def test_safetensors_bring_the_network_back(tmp_path: Any, flattened: bool) -> None:
    """On a GPU cuDNN keeps all weights of an LSTM in one block of memory; the files must hold each by itself."""
    model, batch = _model(layers=2), _batch()
    if flattened:
        weights = list(model.encoder.parameters())
        block = torch.cat([weight.detach().flatten() for weight in weights])
        for weight, part in zip(weights, torch.split(block, [weight.numel() for weight in weights]), strict=True):
            weight.data = part.view_as(weight)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "model")
    restored = _model(seed=1, layers=2)
    restored.load_state_dict(load_file(tmp_path / "model"))
    assert torch.equal(restored(*batch), model(*batch))


@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_it_learns_twenty_pairs_by_heart(attention: str) -> None:
    torch.manual_seed(0)
    config = LstmSequenceToSequence.model_validate(
        {"name": "lstm-seq2seq", "embedding": 24, "hidden": 48, "attention": attention}
    )
    model = build_lstm_seq2seq(config, SOURCE_TOKENS, TARGET_TOKENS)
    sources, targets = _sequences(5, SOURCE_TOKENS, 20), _sequences(6, TARGET_TOKENS, 20)
    source, lengths = _padded(sources), torch.tensor([len(source) for source in sources])
    begun = _padded([functional.pad(target, (1, 0), value=BEGIN) for target in targets])
    ended = _padded([functional.pad(target, (0, 1), value=END) for target in targets])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(source, lengths, begun).transpose(1, 2), ended, ignore_index=PAD)
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss < 0.01
    assert greedy(model.eval(), source, lengths, max_tokens=10).lists() == [target.tolist() for target in targets]
