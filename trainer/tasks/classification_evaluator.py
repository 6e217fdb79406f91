"""Evaluation of a classifier: every sample once, whatever the number of ranks, kept as counts."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainer.config.train import ImageClassification
from trainer.data.images import ImageSet
from trainer.data.loader import Loader
from trainer.losses import activation, class_probabilities
from trainer.metrics import confusion_counts
from trainer.runtime.distributed import Ranks
from trainer.runtime.precision import autocast


@dataclass(frozen=True)
class Counts:
    """Counts over a whole split, the same on all ranks."""

    confusion: np.ndarray
    """int64 [classes, classes]; rows are true classes."""
    loss: float
    """Mean loss over samples."""

    @property
    def accuracy(self) -> float:
        """Share of samples classified right."""
        return float(np.trace(self.confusion) / self.confusion.sum())


@dataclass(frozen=True)
class Predictions:
    """What the model said of every sample of a split, in the split's order (rank 0 only)."""

    predicted: Tensor
    """int64 [N]."""
    confidence: Tensor
    """float64 [N], the probability of the predicted class."""


class Evaluator:
    """Evaluates a classifier on splits."""

    def __init__(
        self,
        config: ImageClassification,
        model: nn.Module,
        loader: Loader,
        criterion: nn.Module,
        ranks: Ranks,
        *,
        classes: int,
    ) -> None:
        self._config = config
        self._model = model
        self._loader = loader
        self._ranks = ranks
        self._classes = classes
        self._criterion = criterion
        self._activation = activation(config.loss)

    def __call__(self, split: ImageSet) -> Counts:
        """Loss and confusion counts on ``split``."""
        return self._run(split)[0]

    def with_predictions(self, split: ImageSet) -> tuple[Counts, Predictions]:
        """The same, with each sample's prediction gathered on all ranks."""
        evaluation, rows = self._run(split, keep=True)
        merged = torch.empty(len(split), 2, dtype=torch.float64)
        for rank, part in enumerate(self._ranks.gather_rows(rows)):
            merged[rank :: self._ranks.world_size] = part
        return evaluation, Predictions(merged[:, 0].long(), merged[:, 1])

    @torch.inference_mode()
    def _run(self, split: ImageSet, *, keep: bool = False) -> tuple[Counts, Tensor]:
        self._model.eval()
        device = self._ranks.device
        counts = torch.zeros(self._classes, self._classes, dtype=torch.int64, device=device)
        loss_sum = torch.zeros(1, dtype=torch.float64, device=device)
        rows = []
        for batch in self._loader.evaluation(split):
            labels = batch.targets
            with autocast(self._config, device):
                logits = self._model(*batch.inputs)
                loss_sum += self._criterion(logits, labels).double()
            predicted = logits.argmax(dim=1)
            counts += confusion_counts(predicted, labels, self._classes)
            if keep:
                confidence = class_probabilities(logits, self._activation).amax(dim=1)
                rows.append(torch.stack((predicted.double(), confidence), dim=1).cpu())
        self._ranks.sum(counts)
        self._ranks.sum(loss_sum)
        mean_loss = float(loss_sum.item()) / len(split)
        kept = torch.cat(rows) if rows else torch.empty(0, 2, dtype=torch.float64)
        return Counts(counts.cpu().numpy(), mean_loss), kept
