"""Small data that stands in for what the examples read: same form, patterns that are easy to tell apart."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from trainer.config import Train
from trainer.config.model import EfficientNetLite
from trainer.models.efficientnet_lite import build_efficientnet_lite0

CLASSES, SIDE = 10, 28
TRAIN_IMAGES, TEST_IMAGES = 320, 80
PAIRS = 300


def write_inputs(train: Train, here: Callable[[str], Path]) -> None:
    """Write everything that ``train`` reads to where ``here`` puts its paths."""
    for field, path in train.paths.items():
        if field == "import_from":
            continue
        write = write_weights if field == "model.weights" else _WRITERS[train.data.kind]
        here(path).parent.mkdir(parents=True, exist_ok=True)
        write(here(path))


def write_idx_folder(folder: Path) -> None:
    """Images of one blurred pattern a class, with noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (CLASSES, 7, 7)).repeat(SIDE // 7, axis=1).repeat(SIDE // 7, axis=2)
    for split, count in (("train", TRAIN_IMAGES), ("t10k", TEST_IMAGES)):
        labels = np.arange(count) % CLASSES
        images = (0.7 * patterns[labels] + random.integers(0, 76, (count, SIDE, SIDE))).astype(np.uint8)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(_idx(images))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(_idx(labels.astype(np.uint8)))


def _idx(array: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_pairs(path: Path) -> None:
    """Words of random letters; each letter is said in one way."""
    random = np.random.default_rng(0)
    words = {"".join(random.choice(list("abcdefgh"), random.integers(2, 6))) for _ in range(PAIRS)}
    path.write_text("".join(f"{word}\t{' '.join(word.upper())}\n" for word in sorted(words)))


def write_weights(path: Path) -> None:
    """Random weights of EfficientNet-Lite0 for ImageNet's classes."""
    torch.manual_seed(0)
    model = build_efficientnet_lite0(EfficientNetLite(name="efficientnet-lite0"), (3, SIDE, SIDE), classes=1000)
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)


_WRITERS: dict[str, Callable[[Path], None]] = {"idx": write_idx_folder, "pairs": write_pairs}
