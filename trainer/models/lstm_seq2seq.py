"""A bidirectional LSTM encoder, and an LSTM decoder that looks back at it by attention.

Sutskever, Vinyals and Le, 2014 (sequence to sequence); Bahdanau, Cho and Bengio, 2015 (additive attention and a
bidirectional encoder); Luong, Pham and Manning, 2015 (attention after the recurrence). The decoder reads the previous
token alone, not the previous context, so with the true tokens given a whole target is one call of the LSTM and one of
the attention, and no Python runs token by token.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainer.config.model import LstmSequenceToSequence
from trainer.data.vocabulary import PAD


class Memory(NamedTuple):
    """What the decoder looks back at, the same for every token of an output."""

    states: Tensor
    """The encoder's states, float [B, S, 2 H]; zero at padding."""
    keys: Tensor
    """The same, as the attention compares them; float [B, S, H]."""
    mask: Tensor
    """True at tokens, False at padding; bool [B, S]."""


class DecoderState(NamedTuple):
    """What the decoder remembers of N outputs after their last tokens."""

    hidden: Tensor
    """Float [layers, N, H]."""
    cell: Tensor
    """Float [layers, N, H]."""

    def select(self, rows: Tensor) -> "DecoderState":
        """The state of the outputs ``rows`` (int64), in that order."""
        return DecoderState(self.hidden.index_select(1, rows), self.cell.index_select(1, rows))


class AdditiveAttention(nn.Module):
    """Score of a query q and a state s: v . tanh(W q + b + U s) (Bahdanau, Cho and Bengio, 2015)."""

    def __init__(self, query_width: int, state_width: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, width)
        self.key = nn.Linear(state_width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, queries: Tensor, memory: Memory) -> Tensor:
        """Scores [B, T, S] of ``queries`` [B, T, H]; holds B T S H values for the backward pass."""
        scores: Tensor = self.score(torch.tanh(self.query(queries).unsqueeze(2) + memory.keys.unsqueeze(1)))
        return scores.squeeze(3)


class DotAttention(nn.Module):
    """Score of a query q and a state s: q . U s / sqrt(H) (Luong's general form, 2015; scaled as in Vaswani, 2017)."""

    def __init__(self, query_width: int, state_width: int) -> None:
        super().__init__()
        self.key = nn.Linear(state_width, query_width, bias=False)

    def forward(self, queries: Tensor, memory: Memory) -> Tensor:
        """Scores [B, T, S] of ``queries`` [B, T, H]."""
        return queries @ memory.keys.transpose(1, 2) / math.sqrt(queries.shape[-1])


def attend(scores: Tensor, memory: Memory) -> Tensor:
    """Means of the states weighted by the softmax of ``scores`` [B, T, S] over tokens; [B, T, 2 H].

    Padding weighs exactly nothing. The softmax is in float32 at least: half precision cannot tell near scores apart.
    """
    scores = scores.masked_fill(~memory.mask.unsqueeze(1), -math.inf)
    weights = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return weights.to(memory.states.dtype) @ memory.states


class LstmSeq2Seq(nn.Module):
    """Maps sources and the beginnings of targets to logits of the tokens that follow."""

    def __init__(self, config: LstmSequenceToSequence, source_tokens: int, target_tokens: int) -> None:
        super().__init__()
        width, hidden, layers = config.embedding, config.hidden, config.layers
        between = config.dropout if layers > 1 else 0.0  # with one layer there is nothing between
        self.source_embedding = nn.Embedding(source_tokens, width, padding_idx=PAD)
        self.target_embedding = nn.Embedding(target_tokens, width, padding_idx=PAD)
        self.encoder = nn.LSTM(width, hidden, layers, dropout=between, batch_first=True, bidirectional=True)
        self.bridge_hidden = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(layers))
        self.bridge_cell = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(layers))
        self.decoder = nn.LSTM(width, hidden, layers, dropout=between, batch_first=True)
        self.attention: AdditiveAttention | DotAttention = (
            AdditiveAttention(hidden, 2 * hidden, hidden)
            if config.attention == "additive"
            else DotAttention(hidden, 2 * hidden)
        )
        self.combine = nn.Linear(3 * hidden, hidden)
        self.output = nn.Linear(hidden, target_tokens)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, source: Tensor, source_lengths: Tensor, target: Tensor, true_share: float = 1.0) -> Tensor:
        """Logits of the token at each place of the target, given the tokens before it.

        Args:
            source: int64 [B, S], PAD behind the last token.
            source_lengths: int64 [B], each at least 1; on the CPU, or copying them there waits for the device.
            target: Decoder input int64 [B, T]: BEGIN, the true tokens, PAD.
            true_share: Chance, 0 to 1, that a place keeps its true token; the others get the model's own prediction.

        Returns:
            Float [B, T, V].
        """
        state, memory = self.encode(source, source_lengths)
        if true_share < 1.0:
            target = self._replace_tokens(target, state, memory, true_share)
        return self._predict(self._decode(target, state)[0], memory)

    def encode(self, source: Tensor, source_lengths: Tensor) -> tuple[DecoderState, Memory]:
        """Read sources (as in ``forward``): the state that their outputs begin with [layers, B, H], and the memory."""
        embedded = self.dropout(self.source_embedding(source))
        # Packed, so that the direction from right to left begins at each sequence's own end.
        packed = pack_padded_sequence(embedded, source_lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, (hidden, cell) = self.encoder(packed)
        states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=source.shape[1])
        place = torch.arange(source.shape[1], device=source.device)
        mask = place < source_lengths.to(source.device).unsqueeze(1)
        memory = Memory(states, self.attention.key(states), mask)
        return DecoderState(_bridge(self.bridge_hidden, hidden), _bridge(self.bridge_cell, cell)), memory

    def step(self, tokens: Tensor, state: DecoderState, memory: Memory) -> tuple[Tensor, DecoderState]:
        """One more token of K outputs for each source.

        Args:
            tokens: The newest token of each output, int64 [B, K].
            state: Of B K outputs, those of a source next to each other.
            memory: Of B sources; outputs of the same source share it.

        Returns:
            Logits [B, K, V] of the tokens that follow, and the state after ``tokens``.
        """
        outputs, state = self._decode(tokens.reshape(-1, 1), state)
        return self._predict(outputs.view(*tokens.shape, -1), memory), state

    def _decode(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Outputs [N, T, H] of the LSTM at ``tokens`` [N, T], which follow on ``state`` of N outputs."""
        embedded = self.dropout(self.target_embedding(tokens))
        outputs, (hidden, cell) = self.decoder(embedded, (state.hidden, state.cell))
        return outputs, DecoderState(hidden, cell)

    def _predict(self, outputs: Tensor, memory: Memory) -> Tensor:
        context = attend(self.attention(outputs, memory), memory)
        combined = torch.tanh(self.combine(torch.cat((outputs, context), dim=2)))
        logits: Tensor = self.output(self.dropout(combined))
        return logits

    @torch.no_grad()
    def _replace_tokens(self, target: Tensor, state: DecoderState, memory: Memory, true_share: float) -> Tensor:
        """Scheduled sampling in two passes, not token by token (Mihaylova and Martins, 2019; Duckworth et al., 2019).

        What the model says at a place with the true tokens before it stands in for what it would have said by itself.
        """
        with _fresh_casts(target.device):
            predicted = self._predict(self._decode(target, state)[0], memory).argmax(dim=2)
        follows = torch.cat((target[:, :1], predicted[:, :-1]), dim=1)  # BEGIN stays
        replaced = torch.rand(target.shape, device=target.device) >= true_share
        return follows.where(replaced & (target != PAD), target)


def build_lstm_seq2seq(config: LstmSequenceToSequence, source_tokens: int, target_tokens: int) -> LstmSeq2Seq:
    """Build the network on the default device, in training mode, weights drawn from torch's global generator.

    Args:
        config: Widths, layers, the form of attention and dropout.
        source_tokens: Size of the source vocabulary, special ids included.
        target_tokens: V, the same of the target vocabulary.
    """
    return LstmSeq2Seq(config, source_tokens, target_tokens)


def _bridge(layers: nn.ModuleList, final: Tensor) -> Tensor:
    """From final states [2 layers, B, H], both directions of a layer after each other, to [layers, B, H]."""
    both = final.view(len(layers), 2, *final.shape[1:]).transpose(1, 2).flatten(2)
    return torch.stack([torch.tanh(layer(one)) for layer, one in zip(layers, both, strict=True)])


def _fresh_casts(device: torch.device) -> torch.autocast:
    """The autocast that is on, or none, but without its cache.

    The cache keeps weights as they were first cast: before torch's pull request 165068 (December 2025), weights cast
    under no_grad denied the pass that follows its gradients (issue 112583).
    """
    return torch.autocast(
        device.type,
        dtype=torch.get_autocast_dtype(device.type),
        enabled=torch.is_autocast_enabled(device.type),
        cache_enabled=False,
    )
