"""Searching for a good output sequence: greedily, or by a beam. One step of the model extends every output of a batch.

PAD, BEGIN and UNKNOWN are no part of an output. Their probability is not spread over the other ids, so an output's is
what the model gives it.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.vocabulary import BEGIN, END, PAD, UNKNOWN


class OutputState(Protocol):
    """What a model remembers of a number of outputs after their last tokens."""

    def select(self, rows: Tensor) -> Self:
        """The state of the outputs ``rows`` (int64), in that order."""
        ...


StateT = TypeVar("StateT", bound=OutputState)
MemoryT = TypeVar("MemoryT")


class StepwiseModel(Protocol[StateT, MemoryT]):
    """A model that can be asked for one token after the other."""

    def encode(self, source: Tensor, source_lengths: Tensor) -> tuple[StateT, MemoryT]:
        """The state that the outputs of sources int64 [B, S] begin with, and what all outputs of a source share."""
        ...

    def step(self, tokens: Tensor, state: StateT, memory: MemoryT) -> tuple[Tensor, StateT]:
        """Logits [B, K, V] after the newest ``tokens`` int64 [B, K] of K outputs a source, whose state has B K rows."""
        ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """One output a source."""

    tokens: Tensor
    """Without BEGIN and END, PAD behind the last token; int64 [B, L]."""
    lengths: Tensor
    """Tokens of each output; int64 [B]."""
    log_probability: Tensor
    """Natural logarithm of the probability of the whole output, its END included; float64 [B]."""

    def lists(self) -> list[list[int]]:
        """Ids of each output, without padding."""
        rows = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [row[:length] for row, length in rows]


@torch.inference_mode()
def greedy(model: StepwiseModel[StateT, MemoryT], source: Tensor, source_lengths: Tensor, max_tokens: int) -> Decoded:
    """At each place the likeliest token, until that is END.

    Args:
        model: In evaluation mode, or dropout disturbs the search.
        source: int64 [B, S], PAD behind the last token.
        source_lengths: int64 [B].
        max_tokens: An output of so many tokens gets its END whatever the model says, so every output is a whole one.
    """
    state, memory = model.encode(source, source_lengths)
    newest = _begin(source, 1)
    tokens, ended = newest[:, :0], torch.zeros_like(newest, dtype=torch.bool)
    total = torch.zeros_like(newest, dtype=torch.float64)
    for place in range(max_tokens + 1):
        logits, state = model.step(newest, state, memory)
        gain, newest = _log_probabilities(logits, end_only=place == max_tokens).max(dim=2)
        total += gain.masked_fill(ended, 0.0)
        ended |= newest == END
        if ended.all():
            break
        newest = newest.masked_fill(ended, PAD)
        tokens = torch.cat((tokens, newest), dim=1)
    return Decoded(tokens, (tokens != PAD).sum(dim=1), total.squeeze(1))


@torch.inference_mode()
def beam_search(
    model: StepwiseModel[StateT, MemoryT],
    source: Tensor,
    source_lengths: Tensor,
    *,
    beam: int,
    length_penalty: float,
    max_tokens: int,
) -> Decoded:
    """The best of the outputs that end while the ``beam`` likeliest beginnings of each source are followed.

    The score of an output is its log-probability divided by its number of tokens, END included, to the power of
    ``length_penalty`` (Wu et al., 2016, without their constants): 0 compares probabilities, 1 means over tokens. The
    search for a source ends once ``beam`` outputs have ended and no beginning scores better than the best of them: the
    number alone, as in fairseq, lets a sure model stop at short outputs of tiny probability that ended on the way. A
    beam of 1 is ``greedy``.

    Args:
        model: In evaluation mode, or dropout disturbs the search.
        source: int64 [B, S], PAD behind the last token.
        source_lengths: int64 [B].
        beam: Beginnings that are followed, K.
        length_penalty: See above.
        max_tokens: An output of so many tokens gets its END whatever the model says, so every output is a whole one.
    """
    state, memory = model.encode(source, source_lengths)
    state = state.select(torch.arange(len(source), device=source.device).repeat_interleave(beam))
    live, best = _first(source, beam), _none(source)
    for place in range(max_tokens + 1):
        logits, state = model.step(live.newest, state, memory)
        longer = _extensions(live, _log_probabilities(logits, end_only=place == max_tokens))
        norm = (place + 1) ** length_penalty
        best = _better(best, live, longer, norm)
        live, rows = _go_on(live, longer)
        done = best.done | (best.ended >= beam) & (best.score >= live.total[:, 0] / norm)
        best = best._replace(done=done)
        if done.all():
            break
        state = state.select(rows)
    lengths = (best.tokens != PAD).sum(dim=1)
    return Decoded(best.tokens[:, : int(lengths.max())], lengths, best.total)


def _log_probabilities(logits: Tensor, *, end_only: bool) -> Tensor:
    """Log-probabilities of each id, in float32 at least; minus infinity for those that may not come next."""
    logs = logits.log_softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    ids = torch.arange(logits.shape[-1], device=logits.device)
    may_not = ids != END if end_only else (ids == PAD) | (ids == BEGIN) | (ids == UNKNOWN)
    return logs.masked_fill(may_not, -torch.inf)


class _Live(NamedTuple):
    """The K beginnings that are followed for each source."""

    newest: Tensor
    """Last token of each, int64 [B, K]."""
    tokens: Tensor
    """All of their tokens, int64 [B, K, t]."""
    total: Tensor
    """Log-probability of each, float64 [B, K], the likeliest first; minus infinity where there are fewer than K."""


class _Extensions(NamedTuple):
    """The 2 K likeliest ways to go on from any of a source's beginnings, the likeliest first."""

    parent: Tensor
    """Which beginning each goes on from, int64 [B, 2 K]."""
    token: Tensor
    """The token that it adds, int64 [B, 2 K]."""
    total: Tensor
    """Log-probability with it, float64 [B, 2 K]."""


class _Best(NamedTuple):
    """The best output of each source that has ended so far."""

    tokens: Tensor
    """int64 [B, t], PAD behind the last."""
    score: Tensor
    """float64 [B]; minus infinity before the first one ends."""
    total: Tensor
    """Log-probability, float64 [B]."""
    ended: Tensor
    """How many outputs have ended, int64 [B]."""
    done: Tensor
    """Whether the search is over, bool [B]: from then on nothing changes, however long other sources take."""


def _begin(source: Tensor, beam: int) -> Tensor:
    return torch.full((len(source), beam), BEGIN, device=source.device)


def _first(source: Tensor, beam: int) -> _Live:
    """One beginning a source, which is empty; the others of the beam are impossible, or all would be the same."""
    newest = _begin(source, beam)
    total = torch.full(newest.shape, -torch.inf, dtype=torch.float64, device=source.device)
    total[:, 0] = 0.0
    return _Live(newest, newest.unsqueeze(2)[:, :, :0], total)


def _none(source: Tensor) -> _Best:
    score = torch.full((len(source),), -torch.inf, dtype=torch.float64, device=source.device)
    ended, done = torch.zeros_like(score, dtype=torch.int64), torch.zeros_like(score, dtype=torch.bool)
    return _Best(_begin(source, 0), score, score, ended, done)


def _extensions(live: _Live, logs: Tensor) -> _Extensions:
    """Of a beginning's extensions its K + 1 likeliest are enough: K to follow, and its end."""
    beam, count = logs.shape[1], min(logs.shape[2], logs.shape[1] + 1)
    gain, token = logs.topk(count, dim=2)
    total, place = (live.total.unsqueeze(2) + gain).flatten(1).topk(2 * beam, dim=1)
    return _Extensions(place // count, token.flatten(1).gather(1, place), total)


def _better(best: _Best, live: _Live, longer: _Extensions, norm: float) -> _Best:
    """The best outputs, once those that end among the K likeliest extensions have been looked at."""
    beam, length = live.newest.shape[1], live.tokens.shape[2]
    parent, token, total = (column[:, :beam] for column in longer)
    ends = (token == END) & total.isfinite() & ~best.done.unsqueeze(1)
    score, which = (total / norm).masked_fill(~ends, -torch.inf).max(dim=1, keepdim=True)
    better = score > best.score.unsqueeze(1)
    tokens = _of_parents(live.tokens, parent.gather(1, which)).squeeze(1)
    return _Best(
        tokens=tokens.where(better, functional.pad(best.tokens, (0, length - best.tokens.shape[1]), value=PAD)),
        score=score.squeeze(1).where(better.squeeze(1), best.score),
        total=total.gather(1, which).squeeze(1).where(better.squeeze(1), best.total),
        ended=best.ended + ends.sum(dim=1),
        done=best.done,
    )


def _go_on(live: _Live, longer: _Extensions) -> tuple[_Live, Tensor]:
    """The K likeliest extensions that do not end, and the row of the state that each goes on from (int64 [B K])."""
    beam = live.newest.shape[1]
    # At most one extension of a beginning ends, so at least K of the 2 K do not; a stable sort keeps their order.
    chosen = (longer.token == END).byte().sort(dim=1, stable=True).indices[:, :beam]
    parent, token, total = (column.gather(1, chosen) for column in longer)
    tokens = torch.cat((_of_parents(live.tokens, parent), token.unsqueeze(2)), dim=2)
    first_rows = torch.arange(0, parent.numel(), beam, device=parent.device).unsqueeze(1)
    return _Live(token, tokens, total), (first_rows + parent).flatten()


def _of_parents(tokens: Tensor, parent: Tensor) -> Tensor:
    """Tokens [B, k, t] of the beginnings ``parent`` [B, k] out of [B, K, t]."""
    return tokens.gather(1, parent.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
