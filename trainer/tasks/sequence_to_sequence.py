"""Turning one sequence of tokens into another, such as a word into its pronunciation."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.config.network import SequenceNetwork
from trainer.config.train import SequenceToSequence
from trainer.data.batch import Batch, StepBatches
from trainer.data.pairs import PairSet, PairSplits, load_pairs
from trainer.data.sampler import epoch_order, global_batch, micro_batches
from trainer.losses import build_loss
from trainer.models.lstm_seq2seq import build_lstm_seq2seq
from trainer.runtime.determinism import derive_seed
from trainer.runtime.distributed import Ranks
from trainer.tasks.base import Evaluation, Selection, Split, Task
from trainer.tasks.sequence_evaluator import SequenceEvaluator
from trainer.tasks.sequence_results import SequenceResults


class SequenceToSequenceTask(Task):
    """Pairs of sequences, an encoder and decoder, and edit distances."""

    selection: ClassVar[Selection] = Selection("token_error_rate", higher_is_better=False)

    def __init__(self, config: SequenceToSequence, ranks: Ranks) -> None:
        self._config = config
        self._ranks = ranks
        self.splits: PairSplits = load_pairs(config.data)
        torch.manual_seed(derive_seed("weights", config.seed))
        self.model = build_lstm_seq2seq(
            config.model, len(self.splits.source_vocabulary), len(self.splits.target_vocabulary)
        )
        self.model.to(ranks.device)
        self._criterion = build_loss(config.loss, self.splits.target_vocabulary.tokens)
        self._evaluator = SequenceEvaluator(config, self.model, self._criterion, ranks)

    def introduction(self) -> str:
        """Sizes of the splits and vocabularies, and the network."""
        source, target = len(self.splits.source_vocabulary), len(self.splits.target_vocabulary)
        return f"{self.sizes()} pairs of {source} source and {target} target tokens; {self._config.model.name}"

    def epoch(self, epoch: int, *, start: int, steps: int) -> Iterator[StepBatches]:
        """Sources, their lengths and decoder inputs; the loss sums over the tokens of the targets."""
        config, train = self._config, self.splits.train
        order = epoch_order(seed=config.seed, epoch=epoch, samples=len(train))
        for step in range(start, steps):
            shares = micro_batches(
                order,
                step=step,
                batch_size=config.batch_size,
                rank=self._ranks.rank,
                world_size=self._ranks.world_size,
                parts=config.accumulate,
            )
            whole = global_batch(order, step=step, batch_size=config.batch_size)
            yield StepBatches([self._batch(train, share) for share in shares], units=train.target_tokens(whole))

    def _batch(self, pairs: PairSet, positions: Tensor) -> Batch:
        read = pairs.batch(positions).to(self._ranks.device)
        return Batch(
            inputs=(read.source, read.source_lengths, read.target),
            targets=read.expected,
            units=pairs.target_tokens(positions),
        )

    def loss(self, network: nn.Module, batch: Batch, progress: float) -> Tensor:
        """The criterion summed over the tokens of the targets, padding left out."""
        logits = network(*batch.inputs, self._true_share(progress))
        return self._evaluator.summed_loss(logits, batch.targets)

    def _true_share(self, progress: float) -> float:
        """Share of true tokens that the decoder is fed."""
        forcing = self._config.teacher_forcing
        constant = min(forcing.constant_epochs / self._config.epochs, 1.0)
        if progress <= constant:
            return 1.0
        return 1.0 - (1.0 - forcing.final_share) * (progress - constant) / (1.0 - constant)

    def evaluate(self, split: Split) -> Evaluation:
        """Loss, token error rate and sequence error rate of greedy decoding."""
        return self._evaluator.evaluate(self._pairs_of(split))

    def _pairs_of(self, split: Split) -> PairSet:
        pairs = self.splits.test if split == "test" else self.splits.validation
        if pairs is None:
            raise ValueError("there is no validation split")
        return pairs

    def network(self) -> SequenceNetwork:
        """The network, its vocabularies, and how its outputs are searched."""
        config = self._config
        return SequenceNetwork(
            task=config.task,
            model=config.model,
            source_tokens=config.data.source_tokens,
            target_tokens=config.data.target_tokens,
            lowercase=config.data.lowercase,
            source_vocabulary=self.splits.source_vocabulary.tokens,
            target_vocabulary=self.splits.target_vocabulary.tokens,
            decoding=config.decoding,
        )

    def test(self) -> SequenceResults:
        """Search an output for each pair of the test split, greedily and with beams."""
        evaluation, decoded = self._evaluator.with_outputs(self.splits.test)
        greedy = self._evaluator.evaluate(self.splits.test) if self._config.decoding.beam > 1 else evaluation
        return SequenceResults(evaluation, greedy, decoded, self.splits, self._config.data)
