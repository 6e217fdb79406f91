"""Every image file of a data set decoded once a node, its ranks sharing the work, the pixels and what they found.

Decoding everything first costs little (a thousand photographs take a core two seconds), finds every damaged file before
training instead of hours into it, and lets all ranks decide alike what to leave out.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.decode import DecodedOnDemand, UndecodableImage, channels_first, decode_image
from trainer.data.images import ImageSource, InMemoryImages
from trainer.data.node import Node
from trainer.exits import StorageError

log = logging.getLogger(__name__)

# A decoded set up to this size is kept (bytes, once a node): 28,000 images of 224x224 pixels.
CACHE_BYTES = 4 * 2**30

_HISTOGRAM_BYTES = 3 * 256 * 8
_FILES_A_TASK = 64


class Outcome(IntEnum):
    """What became of a file."""

    PENDING = 0
    GOOD = 1
    UNDECODABLE = 2
    UNREADABLE = 3
    """The storage failed, not the image; another rank may have been luckier, so this is never skipped."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What decoding found, the same on every rank of the node."""

    images: ImageSource
    outcomes: Tensor
    """An ``Outcome`` for each file, uint8 [N]."""
    histogram: Tensor
    """Pixel values of the readable files that count, int64 [3, 256]."""


@dataclass(frozen=True, eq=False)
class _Board:
    """The memory that the ranks of a node write to, each its own parts of it."""

    histograms: npt.NDArray[np.int64]
    """[local ranks, 3, 256]"""
    outcomes: npt.NDArray[np.uint8]
    """[N]"""
    pixels: npt.NDArray[np.uint8] | None
    """[N, 3, size, size], where the set is kept."""

    @staticmethod
    def shared(node: Node, purpose: str, files: int, size: int) -> "_Board":
        """Make the board on all ranks of ``node``: with pixels where they fit."""
        head = node.local_ranks * _HISTOGRAM_BYTES
        pixel_bytes = files * 3 * size * size
        block = None
        if pixel_bytes <= CACHE_BYTES:
            block = node.shared_bytes(purpose + ":pixels", head + files + pixel_bytes)
        if block is None:
            pixel_bytes = 0
            block = node.shared_bytes(purpose, head + files)
        if block is None:
            raise StorageError("the temporary folder is full or not writable; set TMPDIR to one that is not")
        return _Board(
            block[:head].view(np.int64).reshape(node.local_ranks, 3, 256),
            block[head : head + files],
            block[head + files :].reshape(files, 3, size, size) if pixel_bytes else None,
        )


def decode_together(root: Path, files: Sequence[str], counted: Tensor, size: int, node: Node) -> Decoded:
    """Decode ``files`` to squares; every rank of ``node`` calls it alike and takes every n-th file.

    Args:
        root: Folder that ``files`` are relative to.
        files: Path of each image.
        counted: Which files the histogram covers, bool [N].
        size: Side of the squares (pixels).
        node: This process's place on its node.

    Returns:
        Images kept in memory where all fit ``CACHE_BYTES`` and the temporary folder, decoded on demand otherwise.
    """
    board = _Board.shared(node, f"{root}:{len(files)}:{size}", len(files), size)
    share = node.share(len(files))
    if node.local_rank == 0:
        log.info("decoding %d images, %d threads on each of %d ranks", len(files), node.threads, node.local_ranks)

    counted_files = counted.numpy()

    def decode_some(indices: range) -> npt.NDArray[np.int64]:
        total = np.zeros((3, 256), dtype=np.int64)
        for index in indices:
            histogram = _decode_one(board, root, files, index, size)
            if counted_files[index]:
                total += histogram
        return total

    with ThreadPoolExecutor(node.threads, thread_name_prefix="decode") as pool:
        tasks = [share[start : start + _FILES_A_TASK] for start in range(0, len(share), _FILES_A_TASK)]
        for histogram in pool.map(decode_some, tasks):
            board.histograms[node.local_rank] += histogram
    node.barrier()
    return Decoded(
        _source(board, root, files, size, node.threads),
        torch.from_numpy(board.outcomes),
        torch.from_numpy(board.histograms.sum(axis=0)),
    )


def _decode_one(board: _Board, root: Path, files: Sequence[str], index: int, size: int) -> npt.NDArray[np.int64]:
    """Decode one file onto the board; its histogram [3, 256], zero where it cannot be read."""
    nothing = np.zeros((3, 256), dtype=np.int64)
    try:
        image = decode_image((root / files[index]).read_bytes(), size)
    except UndecodableImage:
        board.outcomes[index] = Outcome.UNDECODABLE
        return nothing
    except OSError:
        board.outcomes[index] = Outcome.UNREADABLE
        return nothing
    if board.pixels is not None:
        board.pixels[index] = channels_first(image)
    board.outcomes[index] = Outcome.GOOD
    return np.array(image.histogram(), dtype=np.int64).reshape(3, 256)


def _source(board: _Board, root: Path, files: Sequence[str], size: int, threads: int) -> ImageSource:
    if board.pixels is not None:
        return InMemoryImages(torch.from_numpy(board.pixels))
    return DecodedOnDemand(root, files, size, threads)
