"""Images as uint8: where they are held, and which of them belong to a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Shape = tuple[int, int, int]


class ImageSource(Protocol):
    """Every image of a data set, whichever split it belongs to; an image's place here is its sample id."""

    @property
    def shape(self) -> Shape:
        """Channels, height and width (pixels), the same for every image."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 [B] on the CPU) as uint8 [B, C, H, W] on the CPU."""
        ...


class InMemoryImages:
    """Images held as one uint8 tensor [N, C, H, W]."""

    def __init__(self, pixels: Tensor) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise ValueError(f"images must be uint8 [N, C, H, W] (got {pixels.dtype} {list(pixels.shape)})")
        self.pixels = pixels

    @property
    def shape(self) -> Shape:
        """Channels, height and width (pixels)."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Tensor) -> Tensor:
        """The images at ``indices``; index_select copies image by image, indexing with [] byte by byte (20x slower)."""
        return self.pixels.index_select(0, indices)


class PackedStrings(Sequence[str]):
    """Many short strings as one block of bytes: a million paths as Python strings would be over 100 MB a rank."""

    def __init__(self, strings: Sequence[str]) -> None:
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        lengths = torch.tensor([0, *map(len, encoded)], dtype=torch.int64)
        self._ends = lengths.cumsum(0)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices: nobody needs them
        if not 0 <= index < len(self):
            raise IndexError(index)
        start, end = self._ends[index : index + 2].tolist()
        return self._bytes[start:end].decode("utf-8", "surrogateescape")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split: which samples of a source belong to it, and their labels."""

    images: ImageSource
    """The source, shared with the other splits where they come from the same files."""
    indices: Tensor
    """Sample ids in split order, int64 [N]."""
    labels: Tensor
    """Class of each sample in split order, int64 [N]."""
    source_names: Sequence[str] | None = None
    """Name of every sample of the source, such as its path. Default: its sample id."""

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images uint8 [B, C, H, W], labels int64 [B] and sample ids int64 [B] at ``positions`` (int64 [B])."""
        ids = self.indices.index_select(0, positions)
        return self.images.batch(ids), self.labels.index_select(0, positions), ids

    def names(self, positions: Tensor) -> list[str]:
        """What to call each sample in a table of predictions."""
        ids = self.indices.index_select(0, positions).tolist()
        if self.source_names is None:
            return [str(sample) for sample in ids]
        return [self.source_names[sample] for sample in ids]

    def select(self, positions: Tensor) -> "ImageSet":
        """The set of only the samples at ``positions`` (int64), in that order."""
        return ImageSet(self.images, self.indices[positions], self.labels[positions], self.source_names)


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """A data set ready to train on."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet
    classes: tuple[str, ...]
    """Names of the classes in label order."""
    mean: list[float]
    """Mean of each channel over the training split, pixels scaled to 0..1."""
    std: list[float]
    """Standard deviation of each channel over the training split; 1.0 for a channel that never varies."""
    skipped: tuple[str, ...] = ()
    """Files left out because they could not be read."""
    test_is_drawn: bool = False
    """Whether the test split was drawn from the same samples as the others, rather than being one of its own."""

    def counts(self) -> dict[str, dict[str, int]]:
        """Samples of each class in each split that exists."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: self._class_counts(split) for name, split in splits.items() if split is not None}

    def _class_counts(self, split: ImageSet) -> dict[str, int]:
        counts = torch.bincount(split.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))
