"""A data set of the user's own: every sample is read once a node, its ranks sharing the work and the pixels."""

import logging
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.config.data import ImportedImages
from trainer.data.decode_together import CACHE_BYTES
from trainer.data.global_random import lent_generators
from trainer.data.images import ImageSet, ImageSource, ImageSplits, InMemoryImages, Shape
from trainer.data.node import Node
from trainer.data.pixels import as_pixels, central_square
from trainer.data.splits import carve_validation, stratified_split, thin
from trainer.data.statistics import mean_and_std, pixel_histogram
from trainer.exits import ConfigError, DataError, StorageError, TrainingError
from trainer.own_code.imports import prepare, raised_where
from trainer.runtime.determinism import derive_seed

FIELD = "train.data"
_PROGRESS_SECONDS = 10.0
_LABEL_BYTES = 8

log = logging.getLogger(__name__)


def load_imported_images(config: ImportedImages, node: Node) -> ImageSplits:
    """Build the data set, read all of it, and split it.

    Raises:
        ConfigError: It cannot be imported or called with these arguments, or is no map-style data set.
        DataError: A sample cannot be read or is not an (image, label) of the agreed form; the training split cannot be
            split or thinned as ``config`` says.
    """
    dataset = _UserDataset.build(config, test=False)
    samples = _read(dataset, node)
    test = None
    if config.test_args is not None:
        test = _read(_UserDataset.build(config, test=True), node)
        if test.images.shape != samples.images.shape:
            raise DataError(
                f"{FIELD}: training images are {list(samples.images.shape)}, test images {list(test.images.shape)}; "
                f"expected the same channels, height and width, or {FIELD}.image_size"
            )
    classes = _class_names(dataset, samples, test)
    if test is None:
        rest, held_out = stratified_split(samples.labels, config.test_fraction, config.split_seed)
        samples, drawn = samples.select(rest), samples.select(held_out)
    train, validation = carve_validation(samples, config)
    train = thin(train, config, classes)
    mean, std = mean_and_std(pixel_histogram(train))
    return ImageSplits(train, validation, test or drawn, classes, mean, std, test_is_drawn=test is None)


class _UserDataset:
    """The user's data set, seen as pixels and labels."""

    def __init__(self, dataset: Any, config: ImportedImages) -> None:
        self._dataset = dataset
        self._name = config.import_
        self._size = config.image_size
        self._key = derive_seed("data set", config.split_seed)
        try:
            self._count = len(dataset)
        except TypeError as error:
            raise ConfigError(
                f"{FIELD}.import: {self._name} gave a {type(dataset).__name__} without a length; expected a map-style "
                "torch Dataset, with __len__ and __getitem__"
            ) from error
        if not hasattr(dataset, "__getitem__"):
            raise ConfigError(f"{FIELD}.import: {self._name} gave a {type(dataset).__name__} without __getitem__")
        if self._count == 0:
            raise DataError(f"{FIELD}: {self._name} has no samples")

    @classmethod
    def build(cls, config: ImportedImages, *, test: bool) -> "_UserDataset":
        """Call what the configuration names, for the test samples with ``test_args`` over ``args``.

        The same on every rank and in every attempt: a data set that makes up its samples draws the same ones.
        """
        key = "test_args" if test else "args"
        args = {**config.args, **(config.test_args or {})} if test else config.args
        call = prepare(config.import_, args, field=FIELD, args_field=key)
        with lent_generators() as seed_all:
            seed_all(derive_seed("data set", config.split_seed, key))
            return cls(call(), config)

    def __len__(self) -> int:
        return self._count

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._name

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, if it has them."""
        names = getattr(self._dataset, "classes", None)
        return tuple(map(str, names)) if isinstance(names, Sequence) and not isinstance(names, str) else None

    def read(self, index: int) -> tuple[Tensor, int]:
        """Image, uint8 [C, H, W], and label of a sample.

        Raises:
            DataError: It cannot be read, or is something else.
        """
        try:
            sample = self._dataset[index]
        except (MemoryError, TrainingError):
            raise
        except Exception as error:  # the user's code may raise anything
            raise DataError(f"{FIELD}: sample {index} of {self._name}: {raised_where(error)}") from error
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise self._wrong(index, f"is a {type(sample).__name__}; expected a pair (image, label)")
        try:
            pixels = as_pixels(sample[0])
            return pixels if self._size is None else central_square(pixels, self._size), _label(sample[1])
        except ValueError as error:
            raise self._wrong(index, str(error)) from error

    def read_seeded(self, index: int, seed_all: Callable[[int], None], *, again: bool = False) -> tuple[Tensor, int]:
        """The same with generators that were seeded for this sample, or in another way for it with ``again``."""
        seed_all(derive_seed("sample", self._key, index, int(again)))
        return self.read(index)

    def _wrong(self, index: int, what: str) -> DataError:
        return DataError(f"{FIELD}: sample {index} of {self._name}: {what}")


def _label(value: Any) -> int:
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    try:
        label = operator.index(value)
    except TypeError:
        raise ValueError(f"the label is {value!r:.60}; expected a whole number") from None
    if label < 0 or isinstance(value, bool):
        raise ValueError(f"the label is {value}; expected a whole number from 0")
    return label


@dataclass(frozen=True, eq=False)
class _Board:
    """The memory that the ranks of a node write to, each its own samples."""

    labels: npt.NDArray[np.int64]
    """[N]"""
    pixels: npt.NDArray[np.uint8] | None
    """[N, C, H, W], where they fit."""

    @staticmethod
    def shared(node: Node, purpose: str, count: int, shape: Shape) -> "_Board":
        """Make the board on all ranks of ``node``, with pixels where they fit."""
        head, pixel_bytes = count * _LABEL_BYTES, count * int(np.prod(shape))
        block = node.shared_bytes(f"{purpose}:pixels", head + pixel_bytes) if pixel_bytes <= CACHE_BYTES else None
        kept = block is not None
        if block is None:
            block = node.shared_bytes(purpose, head)
        if block is None:
            raise StorageError("the temporary folder is full or not writable; set TMPDIR to one that is not")
        return _Board(block[:head].view(np.int64), block[head:].reshape(count, *shape) if kept else None)


class _OnDemand:
    """Images that are read when a batch asks for them, for sets that do not fit the memory of a node."""

    def __init__(self, dataset: _UserDataset, shape: Shape) -> None:
        self._dataset = dataset
        self._shape = shape

    @property
    def shape(self) -> Shape:
        """Channels, height and width (pixels)."""
        return self._shape

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, indices: Tensor) -> Tensor:
        """Read the images at ``indices``; not seeded, since the generators are in use while this runs ahead."""
        return torch.stack([self._dataset.read(index)[0] for index in indices.tolist()])


def _read(dataset: _UserDataset, node: Node) -> ImageSet:
    """Read every sample; every rank of ``node`` calls it alike and takes every n-th."""
    with lent_generators() as seed_all:
        first, _ = dataset.read_seeded(0, seed_all)
        _warn_of_chance(dataset, first, seed_all)
        shape: Shape = (first.shape[0], first.shape[1], first.shape[2])
        board = _Board.shared(node, f"import:{dataset.name}:{len(dataset)}:{shape}", len(dataset), shape)
        if board.pixels is None and node.local_rank == 0:
            log.info("%d images are too many for memory: they are read for each batch anew", len(dataset))
        for index in _with_progress(node.share(len(dataset)), node):
            pixels, label = dataset.read_seeded(index, seed_all)
            if pixels.shape != shape:
                raise DataError(
                    f"{FIELD}: sample {index} of {dataset.name}: the image is {list(pixels.shape)}, the first "
                    f"{list(shape)}; {FIELD}.image_size makes them equal"
                )
            board.labels[index] = label
            if board.pixels is not None:
                board.pixels[index] = pixels.numpy()
    node.barrier()
    images: ImageSource = (
        _OnDemand(dataset, shape) if board.pixels is None else InMemoryImages(torch.from_numpy(board.pixels))
    )
    return ImageSet(images, torch.arange(len(dataset)), torch.from_numpy(np.array(board.labels)))


def _warn_of_chance(dataset: _UserDataset, first: Tensor, seed_all: Callable[[int], None]) -> None:
    if not torch.equal(first, dataset.read_seeded(0, seed_all, again=True)[0]):
        log.warning(
            "train.data: %s gives another image for the same index each time; it is read once, so what should vary in "
            "training belongs into train.data.transform",
            dataset.name,
        )


def _with_progress(indices: range, node: Node) -> Iterator[int]:
    """The indices, and a line of the log now and then."""
    last = time.monotonic()
    for done, index in enumerate(indices):
        if node.local_rank == 0 and time.monotonic() - last > _PROGRESS_SECONDS:
            last = time.monotonic()
            log.info("read %d of %d samples on each of %d ranks", done, len(indices), node.local_ranks)
        yield index


def _class_names(dataset: _UserDataset, train: ImageSet, test: ImageSet | None) -> tuple[str, ...]:
    largest = int(train.labels.max())
    if dataset.classes is None:
        present = torch.bincount(train.labels)
        if (present == 0).any():
            raise DataError(
                f"{FIELD}: labels of {dataset.name} go from 0 to {largest}, and no training sample has "
                f"{int(present.argmin())}; expected labels without gaps, or an attribute `classes` with all names"
            )
    classes = dataset.classes or tuple(map(str, range(largest + 1)))
    for split, labels in (("training", train.labels), ("test", test.labels if test else None)):
        if labels is not None and (found := int(labels.max())) >= len(classes):
            raise DataError(
                f"{FIELD}: a {split} sample of {dataset.name} has label {found}, and there are {len(classes)} classes"
            )
    return classes
