"""IDX files, the format of MNIST and its relatives.

Layout (http://yann.lecun.com/exdb/mnist): two zero bytes, the element type (8: unsigned byte), the number of
dimensions, each dimension as a big-endian 32-bit count, then the elements, last dimension fastest.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from trainer.config.data import Idx
from trainer.data.images import ImageSet, ImageSplits, InMemoryImages
from trainer.data.splits import carve_validation, thin
from trainer.data.statistics import mean_and_std, pixel_histogram
from trainer.exits import DataError

_UNSIGNED_BYTE = 8
_GZIP_MAGIC = b"\x1f\x8b"


def load_idx(config: Idx) -> ImageSplits:
    """Read the four files of ``config.path``: train-* is the training data, t10k-* the test.

    Raises:
        DataError: A file is missing, damaged or not IDX; images and labels differ in number; ``classes`` does not name
            every label; or the training split cannot be split or thinned as ``config`` says.
    """
    folder = Path(config.path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (expected IDX files such as train-images-idx3-ubyte.gz)")
    train, test = _read_pair(folder, "train"), _read_pair(folder, "t10k")
    if train.images.shape != test.images.shape:
        raise DataError(
            f"{folder}: training images are {train.images.shape}, test images {test.images.shape}; "
            "expected the same (channels, height, width)"
        )
    classes = _class_names(config, folder, train, test)
    train, validation = carve_validation(train, config)
    train = thin(train, config, classes)
    mean, std = mean_and_std(pixel_histogram(train))
    return ImageSplits(train, validation, test, classes, mean, std)


def read_idx(path: Path) -> Tensor:
    """Read one IDX file of unsigned bytes, gzipped or plain (told apart by content), as a uint8 tensor.

    Raises:
        DataError: The file cannot be read, is not IDX, holds another type, or its size is not what its header says.
    """
    try:
        with path.open("rb") as plain:
            if plain.read(2) == _GZIP_MAGIC:
                plain.seek(0)
                with gzip.GzipFile(fileobj=plain) as unpacked:
                    return _parse(unpacked, path)  # type: ignore[arg-type]  # GzipFile reads as a BinaryIO does
            plain.seek(0)
            return _parse(plain, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or truncated gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _parse(file: BinaryIO, path: Path) -> Tensor:
    shape = _read_shape(file, path)
    expected = math.prod(shape)
    payload = file.read(expected + 1)  # one more than expected: trailing bytes mean a wrong header
    if len(payload) != expected:
        amount = "more" if len(payload) > expected else f"only {len(payload)}"
        raise DataError(f"{path}: header promises {expected} bytes for shape {list(shape)}, the file has {amount}")
    if expected == 0:
        raise DataError(f"{path}: holds no elements (shape {list(shape)})")
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8).view(shape)


def _read_shape(file: BinaryIO, path: Path) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[3] == 0:
        raise DataError(f"{path}: not an IDX file (starts with {magic.hex(' ')}; expected 00 00 08 and a dimension)")
    if magic[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path}: IDX type 0x{magic[2]:02x}; expected 0x08 (unsigned byte)")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise DataError(f"{path}: ends within its header; expected {magic[3]} dimensions")
    return struct.unpack(f">{magic[3]}I", header)


def _read_pair(folder: Path, prefix: str) -> ImageSet:
    images_path = _find(folder, f"{prefix}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{prefix}-labels", "idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3:
        raise DataError(f"{images_path}: has shape {list(images.shape)}; expected [count, height, width]")
    if labels.shape != images.shape[:1]:
        raise DataError(f"{labels_path}: has shape {list(labels.shape)}; expected [{len(images)}], one for each image")
    return ImageSet(InMemoryImages(images.unsqueeze(1)), torch.arange(len(images)), labels.to(torch.int64))


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{separator}{kind}{suffix}" for separator in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder}: has none of {', '.join(names)}")


def _class_names(config: Idx, folder: Path, train: ImageSet, test: ImageSet) -> tuple[str, ...]:
    count = int(train.labels.max()) + 1
    if int(test.labels.max()) >= count:
        raise DataError(f"{folder}: test labels go up to {int(test.labels.max())}, training labels to {count - 1}")
    if config.classes is None:
        return tuple(str(label) for label in range(count))
    if len(config.classes) != count:
        raise DataError(
            f"{folder}: labels are 0..{count - 1}; expected {count} names in classes, got {len(config.classes)}"
        )
    return config.classes
