"""A loss of the user's own, turned into the sum over the samples that the engine works with."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config.imports import ImportedLoss
from trainer.exits import ConfigError
from trainer.own_code.imports import prepare_imported
from trainer.own_code.kind import kind_of

FIELD = "train.loss"
SUPPLIED = ("classes", "class_names", "class_counts")
_TRIED = 4
_TOLERANCE = 1e-3

log = logging.getLogger(__name__)


class SummedLoss(nn.Module):
    """Logits [B, K] and labels int64 [B] to the sum of the samples' losses, a scalar, whatever the user's loss returns.

    Args:
        config: Which loss.
        classes: Names of the classes in label order.
        counts: Training samples of each class, where they are known.

    Raises:
        ConfigError: It cannot be imported or called with these arguments, has parameters, or returns something else
            than ``config.returns`` says.
    """

    def __init__(self, config: ImportedLoss, classes: Sequence[str], counts: Sequence[int] | None) -> None:
        super().__init__()
        self._config = config
        known = None if counts is None else torch.tensor(counts)
        supplied = dict(zip(SUPPLIED, (len(classes), tuple(classes), known), strict=True))
        self.loss: Callable[[Tensor, Tensor], Any] = prepare_imported(config, FIELD, supplied)()
        if not callable(self.loss):
            raise self._wrong(f"gave {kind_of(self.loss)}; expected something to call with logits and labels")
        if isinstance(self.loss, nn.Module) and next(self.loss.parameters(), None) is not None:
            raise self._wrong("has parameters, which nobody trains or saves there; put them into the model")
        self._try(len(classes))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over the samples, float32."""
        value: Tensor = self.loss(logits.float(), labels)
        if self._config.returns == "each":
            return value.sum()
        return value * len(labels) if self._config.returns == "mean" else value

    @torch.no_grad()
    def _try(self, classes: int) -> None:
        """See what it returns for a few samples, and whether a batch's loss is the sum of its parts'."""
        logits = torch.randn(_TRIED, classes, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(_TRIED) % classes
        value = self.loss(logits, labels)
        wanted = [_TRIED] if self._config.returns == "each" else []
        if not isinstance(value, Tensor) or not value.is_floating_point() or list(value.shape) != wanted:
            raise self._wrong(
                f"returned {kind_of(value)} for {_TRIED} samples; expected float {wanted}, as train.loss.returns: "
                f"{self._config.returns} says"
            )
        whole, parts = self(logits, labels), self(logits[:1], labels[:1]) + self(logits[1:], labels[1:])
        if not torch.isclose(whole, parts, rtol=_TOLERANCE, atol=_TOLERANCE):
            log.warning(
                "train.loss: %s of %d samples sums up to %g, and of its parts to %g: with `returns: %s` the loss of a "
                "sample depends on the others of its batch, and the learning curve on the number of ranks",
                self._config.import_,
                _TRIED,
                whole,
                parts,
                self._config.returns,
            )

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{FIELD}.import: {self._config.import_} {what}")
