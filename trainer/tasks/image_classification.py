"""Telling which of several classes an image shows."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.config.model import without_training
from trainer.config.network import ImageNetwork
from trainer.config.train import ImageClassification
from trainer.data.augment import Augmenter
from trainer.data.batch import Batch, StepBatches
from trainer.data.images import ImageSet, ImageSplits
from trainer.data.load import load_images
from trainer.data.loader import Loader
from trainer.data.preprocess import Preprocess
from trainer.data.transform import SampleTransform
from trainer.losses import activation, build_loss
from trainer.metrics import classification_summary
from trainer.own_code.check import import_own_code
from trainer.own_code.imports import sources
from trainer.runtime.determinism import derive_seed
from trainer.runtime.distributed import Ranks
from trainer.tasks.base import Evaluation, Selection, Split, Task
from trainer.tasks.classification_evaluator import Counts, Evaluator
from trainer.tasks.classification_metrics import ClassificationMetrics
from trainer.tasks.classification_results import ClassificationResults
from trainer.tasks.image_network import build_image_network


class ImageClassificationTask(Task):
    """Images, a classifier, and confusion counts."""

    selection: ClassVar[Selection] = Selection("accuracy", higher_is_better=True)

    def __init__(self, config: ImageClassification, ranks: Ranks, splits: ImageSplits | None = None) -> None:
        """Build the network for ``splits``, by default those that ``config.data`` says."""
        self._config = config
        self._ranks = ranks
        if config.imported:
            import_own_code(config, ranks)
        self.splits: ImageSplits = splits or load_images(
            config.data, local_rank=ranks.local_rank, local_ranks=ranks.local_world_size, barrier=ranks.barrier
        )
        memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.preprocess, self.model = self._build_network(memory_format)
        counts = torch.bincount(self.splits.train.labels, minlength=len(self.splits.classes)).tolist()
        self._criterion = build_loss(config.loss, self.splits.classes, counts).to(ranks.device)
        self._loader = Loader(
            train=self.splits.train,
            preprocess=self.preprocess,
            augment=Augmenter(config.data.augment, config.seed),
            ranks=ranks,
            seed=config.seed,
            batch_size=config.batch_size,
            accumulate=config.accumulate,
            memory_format=memory_format,
            transform=SampleTransform(config.data.transform, config.seed) if config.data.transform else None,
        )
        self._evaluator = Evaluator(
            config, self.model, self._loader, self._criterion, ranks, classes=len(self.splits.classes)
        )
        if config.imported:
            self.code = sources()

    def _build_network(self, memory_format: torch.memory_format) -> tuple[Preprocess, nn.Module]:
        config, splits, device = self._config, self.splits, self._ranks.device
        torch.manual_seed(derive_seed("weights", config.seed))
        preprocess, model = build_image_network(
            config.model,
            stored=splits.train.images.shape,
            image_size=config.data.image_size,
            mean=splits.mean,
            std=splits.std,
            classes=len(splits.classes),
        )
        # Not the tuple overload of to(): it would also convert 4-d buffers of other kinds of networks.
        return preprocess.to(device), model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]

    def introduction(self) -> str:
        """Sizes of the splits, and the network."""
        return f"{self.sizes()} samples of {len(self.splits.classes)} classes; {self._config.model.name}"

    def epoch(self, epoch: int, *, start: int, steps: int) -> Iterator[StepBatches]:
        """Images float32 [B, C, H, W] and labels int64 [B]."""
        return self._loader.epoch(epoch, start=start, steps=steps)

    def loss(self, network: nn.Module, batch: Batch, progress: float) -> Tensor:  # noqa: ARG002
        """The criterion summed over the images."""
        loss: Tensor = self._criterion(network(*batch.inputs), batch.targets)
        return loss

    def evaluate(self, split: Split) -> Evaluation:
        """Loss, accuracy and macro F1."""
        return self._evaluation(self._evaluator(self._images_of(split)))

    def _images_of(self, split: Split) -> ImageSet:
        images = self.splits.test if split == "test" else self.splits.validation
        if images is None:
            raise ValueError("there is no validation split")
        return images

    def _evaluation(self, counts: Counts) -> Evaluation:
        report = classification_summary(counts.confusion, self.splits.classes)
        return Evaluation(counts.loss, {"accuracy": counts.accuracy, "macro_f1": report["macro"]["f1"]})

    def network(self) -> ImageNetwork:
        """The network, what an image is turned into for it, and the names of its outputs."""
        splits = self.splits
        return ImageNetwork(
            task=self._config.task,
            model=without_training(self._config.model),
            image_shape=splits.train.images.shape,
            image_size=self._config.data.image_size,
            mean=tuple(splits.mean),
            std=tuple(splits.std),
            classes=splits.classes,
            activation=activation(self._config.loss),
            code=dict(self.code),
        )

    def test(self) -> ClassificationResults | None:
        """Evaluate the test split, keeping what was said of each sample on rank 0."""
        test, classes, config = self.splits.test, self.splits.classes, self._config
        counts, predictions = self._evaluator.with_predictions(test)
        if predictions is None:
            return None
        metrics = ClassificationMetrics(
            config.metrics,
            seed=config.seed,
            class_names=classes,
            labels=test.labels.numpy(),
            confusion=counts.confusion,
            predictions=predictions,
            histogram=counts.histogram,
        )
        return ClassificationResults(
            evaluation=Evaluation(counts.loss, metrics.scores),
            metrics=metrics,
            confusion=counts.confusion,
            predictions=predictions,
            splits=self.splits,
            network=nn.Sequential(self.preprocess, self.model),
        )
