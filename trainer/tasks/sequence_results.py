"""What a trained sequence model leaves in the results folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.config.contract import PLOTS_DIR, PREDICTIONS_DIR
from trainer.config.data import Pairs
from trainer.data.pairs import SEPARATORS, PairSplits
from trainer.output.plots import learning_curves
from trainer.output.predictions import write_predictions
from trainer.output.storage import make_directory
from trainer.tasks.base import Evaluation, TaskResults
from trainer.tasks.sequence_evaluator import Outputs


@dataclass(frozen=True, eq=False)
class SequenceResults(TaskResults):
    """The test split's error rates and outputs, and the files that are made of them."""

    evaluation: Evaluation
    """With the search that the configuration asks for."""
    greedy: Evaluation
    outputs: Outputs
    splits: PairSplits
    data: Pairs

    def summary(self) -> dict[str, Any]:
        """Pairs, vocabularies, and the error rates of greedy decoding to compare with."""
        splits = self.splits
        return {
            "samples": splits.counts(),
            "vocabulary": {"source": len(splits.source_vocabulary), "target": len(splits.target_vocabulary)},
            "unknown_tokens": splits.unknown(),
            "greedy": {"loss": self.greedy.loss, **self.greedy.scores},
            "export": None,
        }

    def write(self, folder: Path, metrics: list[dict[str, Any]]) -> dict[str, Any]:
        """Predictions and curves."""
        test, vocabulary = self.splits.test, self.splits.target_vocabulary
        separator = SEPARATORS[self.data.target_tokens]
        everything = torch.arange(len(test))
        write_predictions(
            make_directory(folder / PREDICTIONS_DIR) / "test.csv",
            names=test.names(everything),
            labels=[separator.join(vocabulary.decode(ids)) for ids in test.references(everything)],
            predicted=[separator.join(vocabulary.decode(ids)) for ids in self.outputs.tokens],
            confidence=self.outputs.probability,
        )
        learning_curves(metrics, make_directory(folder / PLOTS_DIR) / "learning_curves.png")
        return {}
