"""Evaluation of a sequence model: every pair once, whatever the number of ranks, kept as counts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.config.train import SequenceToSequence
from trainer.data.pairs import PairBatch, PairSet
from trainer.data.sampler import evaluation_shard
from trainer.data.vocabulary import PAD
from trainer.decoding import Decoded, beam_search, greedy
from trainer.edit_distance import EditCounts, edit_counts, sequence_error_rate, token_error_rate
from trainer.models.lstm_seq2seq import LstmSeq2Seq
from trainer.runtime.distributed import Ranks
from trainer.runtime.precision import autocast
from trainer.tasks.base import Evaluation

EVALUATION_BATCH = 256

Search = Callable[[PairBatch], Decoded]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the model said to each source of a split, in the split's order."""

    tokens: list[list[int]]
    """Ids of each output, without END."""
    probability: list[float]
    """Of each output as a whole, 0 to 1."""


class SequenceEvaluator:
    """Evaluates a sequence model on splits of pairs."""

    def __init__(self, config: SequenceToSequence, model: LstmSeq2Seq, criterion: nn.Module, ranks: Ranks) -> None:
        self._config = config
        self._model = model
        self._criterion = criterion
        self._ranks = ranks

    def summed_loss(self, logits: Tensor, expected: Tensor) -> Tensor:
        """The criterion over the tokens of ``expected`` [B, T], padding left out; logits are [B, T, V]."""
        said = expected != PAD
        loss: Tensor = self._criterion(logits[said], expected[said])
        return loss

    def evaluate(self, pairs: PairSet) -> Evaluation:
        """Loss and error rates of greedy decoding."""
        return self._run(pairs, self._greedy)[0]

    def with_outputs(self, pairs: PairSet) -> tuple[Evaluation, Outputs]:
        """The same with the search that the configuration asks for, and each output gathered on all ranks."""
        evaluation, mine = self._run(pairs, self._beams if self._config.decoding.beam > 1 else self._greedy)
        return evaluation, self._gather(mine, len(pairs))

    def _greedy(self, batch: PairBatch) -> Decoded:
        return greedy(self._model, batch.source, batch.source_lengths, max_tokens=self._config.decoding.max_tokens)

    def _beams(self, batch: PairBatch) -> Decoded:
        decoding = self._config.decoding
        return beam_search(
            self._model,
            batch.source,
            batch.source_lengths,
            beam=decoding.beam,
            length_penalty=decoding.length_penalty,
            max_tokens=decoding.max_tokens,
        )

    @torch.inference_mode()
    def _run(self, pairs: PairSet, search: Search) -> tuple[Evaluation, Outputs]:
        self._model.eval()
        counts = torch.zeros(5, dtype=torch.int64)  # four of EditCounts, and the terms of the loss
        loss_sum = torch.zeros(1, dtype=torch.float64, device=self._ranks.device)
        outputs = Outputs([], [])
        shard = evaluation_shard(samples=len(pairs), rank=self._ranks.rank, world_size=self._ranks.world_size)
        for positions in torch.split(shard, EVALUATION_BATCH) if len(shard) else ():
            batch = pairs.batch(positions).to(self._ranks.device)
            with autocast(self._config, self._ranks.device):
                logits = self._model(batch.source, batch.source_lengths, batch.target)
                loss_sum += self.summed_loss(logits, batch.expected).double()
                decoded = search(batch)
            said = decoded.lists()
            found = edit_counts(said, pairs.references(positions))
            counts += torch.tensor([*found, pairs.target_tokens(positions)])
            outputs.tokens.extend(said)
            outputs.probability.extend(decoded.log_probability.exp().tolist())
        self._ranks.sum(loss_sum)
        total = self._ranks.sum(counts.to(self._ranks.device)).tolist()
        return _evaluation(EditCounts(*total[:4]), loss_sum.item() / total[4]), outputs

    def _gather(self, mine: Outputs, samples: int) -> Outputs:
        """All ranks' outputs in the split's order. A row is the probability, the length and the tokens."""
        longest = self._config.decoding.max_tokens
        rows = torch.zeros(len(mine.tokens), longest + 2, dtype=torch.float64)
        for row, tokens, probability in zip(rows, mine.tokens, mine.probability, strict=True):
            row[0], row[1] = probability, len(tokens)
            row[2 : 2 + len(tokens)] = torch.tensor(tokens, dtype=torch.float64)
        merged = torch.empty(samples, longest + 2, dtype=torch.float64)
        for rank, part in enumerate(self._ranks.gather_rows(rows)):
            merged[rank :: self._ranks.world_size] = part
        lengths, ids = merged[:, 1].long().tolist(), merged[:, 2:].long().tolist()
        return Outputs(
            [row[:length] for row, length in zip(ids, lengths, strict=True)],
            merged[:, 0].tolist(),
        )


def _evaluation(counts: EditCounts, loss: float) -> Evaluation:
    scores = {
        "token_error_rate": token_error_rate(counts),
        "sequence_error_rate": sequence_error_rate(counts),
    }
    return Evaluation(loss, scores)
