"""Batches on the device: uint8 until they are there."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.augment import Augmenter
from trainer.data.batch import Batch, StepBatches
from trainer.data.images import ImageSet, InMemoryImages
from trainer.data.preprocess import Preprocess
from trainer.data.sampler import epoch_order, evaluation_shard, micro_batches
from trainer.data.transform import SampleTransform
from trainer.runtime.distributed import Ranks

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Loader:
    """Feeds one rank its share of every step.

    Images travel as uint8; normalisation, resizing and augmentation run on the device, whole batches at a time. A
    transform of the user's own runs before that, on the CPU and image by image.
    """

    train: ImageSet
    preprocess: Preprocess
    augment: Augmenter
    ranks: Ranks
    seed: int
    batch_size: int
    accumulate: int
    memory_format: torch.memory_format
    transform: SampleTransform | None = None

    def epoch(self, epoch: int, *, start: int, steps: int) -> Iterator[StepBatches]:
        """This rank's micro-batches of each step of ``epoch`` from ``start`` on: float images, int64 labels."""
        order = epoch_order(seed=self.seed, epoch=epoch, samples=len(self.train))
        shares = (
            micro_batches(
                order,
                step=step,
                batch_size=self.batch_size,
                rank=self.ranks.rank,
                world_size=self.ranks.world_size,
                parts=self.accumulate,
            )
            for step in range(start, steps)
        )
        for parts in _read_ahead(self.train, shares):
            yield StepBatches([self._prepare(*part, epoch=epoch) for part in parts], units=self.batch_size)

    def _prepare(self, images: Tensor, labels: Tensor, sample_ids: Tensor, *, epoch: int) -> Batch:
        if self.transform:
            images = self.transform(images, epoch, sample_ids)
        images, labels = self._to_device(images), self._to_device(labels)
        return self._batch(self.augment(images, epoch, sample_ids), labels)

    def evaluation(self, split: ImageSet) -> Iterator[Batch]:
        """This rank's samples of ``split``, each once, in order, without augmentation."""
        shard = evaluation_shard(samples=len(split), rank=self.ranks.rank, world_size=self.ranks.world_size)
        if not len(shard):  # torch.split would make it one batch of no images, which not every network takes
            return
        for [(images, labels, _)] in _read_ahead(split, ([part] for part in torch.split(shard, EVALUATION_BATCH))):
            yield self._batch(self._to_device(images), self._to_device(labels))

    def _batch(self, images: Tensor, labels: Tensor) -> Batch:
        pixels = self.preprocess(images).contiguous(memory_format=self.memory_format)
        return Batch((pixels,), labels, units=len(labels))

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self.ranks.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.ranks.device, non_blocking=True)


Samples = tuple[Tensor, Tensor, Tensor]


def _read(split: ImageSet, parts: list[Tensor]) -> list[Samples]:
    return [split.batch(part) for part in parts]


def _read_ahead(split: ImageSet, shares: Iterator[list[Tensor]]) -> Iterator[list[Samples]]:
    """The samples of each share; while one is used, the next is read in a thread where reading takes time."""
    if isinstance(split.images, InMemoryImages):
        for parts in shares:
            yield _read(split, parts)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        pending = None
        for parts in shares:
            coming = reader.submit(_read, split, parts)
            if pending is not None:
                yield pending.result()
            pending = coming
        if pending is not None:
            yield pending.result()
