"""The trainer's evaluation of chosen logits: a network that only passes on what it is given as an image."""

from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from tests.sklearn_metrics import Labels, Probabilities
from tests.trainer_runs import tiny
from trainer.config import ImageClassification
from trainer.data.augment import Augmenter
from trainer.data.images import ImageSet, InMemoryImages
from trainer.data.loader import Loader
from trainer.data.preprocess import Preprocess
from trainer.losses import build_loss
from trainer.runtime.distributed import Ranks
from trainer.tasks.classification_evaluator import Evaluator
from trainer.tasks.classification_metrics import ClassificationMetrics

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"), None)
Activation = Literal["softmax", "sigmoid"]


def class_names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def evaluate(
    logits: Probabilities, labels: Labels, ranks: Ranks = ALONE, activation: Activation = "softmax", **metrics: Any
) -> dict[str, Any] | None:
    """Everything that is measured, on rank 0.

    Args:
        logits: Whole numbers from 0 to 255 [N, K].
        labels: [N].
        ranks: Who shares the work.
        activation: What makes probabilities of the logits.
        metrics: ``train.metrics``.
    """
    loss = {"name": "cross-entropy"} if activation == "softmax" else {"name": "focal", "activation": "sigmoid"}
    config = ImageClassification.model_validate(tiny(loss=loss, metrics=metrics), strict=False)
    names = class_names(logits.shape[1])
    pixels = torch.from_numpy(logits.astype(np.uint8)).view(len(labels), 1, 1, -1)
    split = ImageSet(InMemoryImages(pixels), torch.arange(len(labels)), torch.from_numpy(labels))
    criterion = build_loss(config.loss, names)
    loader = Loader(
        train=split,
        preprocess=Preprocess([0.0], [1 / 255]),
        augment=Augmenter(config.data.augment, 0),
        ranks=ranks,
        seed=0,
        batch_size=1,
        accumulate=1,
        memory_format=torch.contiguous_format,
    )
    evaluator = Evaluator(config, nn.Flatten(), loader, criterion, ranks, classes=len(names))
    counts, predictions = evaluator.with_predictions(split)
    if predictions is None:
        return None
    measured = ClassificationMetrics(
        config.metrics,
        seed=config.seed,
        class_names=names,
        labels=labels,
        confusion=counts.confusion,
        predictions=predictions,
        histogram=counts.histogram,
    )
    return {
        "loss": counts.loss,
        "confusion": counts.confusion.tolist(),
        "histogram": None if counts.histogram is None else counts.histogram.tolist(),
        "probabilities": None if predictions.probabilities is None else predictions.probabilities.tolist(),
        "scores": measured.scores,
        "report": measured.report,
        "intervals": measured.intervals(),
        "evaluation": measured.evaluation(),
    }
