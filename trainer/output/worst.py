"""The samples that a classifier was most wrong about, as small pictures with what was said of each."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from trainer.config.contract import FOLDS_DIR, WORST_DIR, WORST_FILE
from trainer.output.storage import make_directory, replacing, write_json

WORST_SAMPLES = 24
# Longest side of a thumbnail (pixels).
THUMBNAIL = 96
# That of the smallest positive float64; a probability that was rounded to zero has an infinite one, which JSON lacks.
LARGEST_LOSS = 744.4400719213812


@dataclass(frozen=True)
class Verdict:
    """What a classifier said of a sample."""

    name: str
    label: str
    predicted: str
    confidence: float
    """Probability of the predicted class."""
    loss: float
    """Negative natural logarithm of the probability of the true class."""


def worst_positions(losses: Tensor, count: int = WORST_SAMPLES) -> Tensor:
    """Positions of the ``count`` highest of ``losses`` (float [N]), highest first; of equal ones the first."""
    return torch.sort(losses, descending=True, stable=True).indices[:count]


def write_worst(folder: Path, images: Tensor, verdicts: Sequence[Verdict]) -> None:
    """Write predictions/worst/00.png and so on, and predictions/worst.json that says what they show.

    Args:
        folder: Results folder.
        images: uint8 [N, C, H, W].
        verdicts: Of each image [N], the worst first.
    """
    index = folder / WORST_FILE
    index.unlink(missing_ok=True)  # of fewer epochs: its pictures are about to go
    shutil.rmtree(folder / WORST_DIR, ignore_errors=True)
    pictures = make_directory(folder / WORST_DIR)
    rows: list[dict[str, Any]] = []
    for number, (pixels, verdict) in enumerate(zip(images, verdicts, strict=True)):
        name = f"{number:02}.png"
        picture = thumbnail(pixels)
        with replacing(pictures / name) as temporary:
            picture.save(temporary, "PNG")
        size = {"width": picture.width, "height": picture.height}
        loss = min(verdict.loss, LARGEST_LOSS)
        rows.append({"image": f"{WORST_DIR}/{name}", **size, **asdict(verdict), "loss": loss})
    write_json(index, rows)


def thumbnail(pixels: Tensor) -> Image.Image:
    """A picture of at most 96 pixels a side: small ones enlarged by a whole number, so that each pixel stays one.

    Args:
        pixels: uint8 [C, H, W]. One channel is grey and three are colours; of others the mean is shown.
    """
    if len(pixels) not in (1, 3):
        pixels = pixels.float().mean(dim=0, keepdim=True).round().byte()
    array = pixels.permute(1, 2, 0).squeeze(-1).contiguous().numpy()
    image = Image.fromarray(array)
    factor = THUMBNAIL // max(image.size)
    if factor > 1:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return image


def read_worst(folder: Path, count: int = WORST_SAMPLES) -> list[dict[str, Any]]:
    """The rows of worst.json, or the worst of all folds of a cross-validation; ``image`` is then an absolute path."""
    rows = []
    for place in (folder, *sorted(folder.glob(f"{FOLDS_DIR}/[0-9]*"))):
        index = place / WORST_FILE
        if index.exists():
            rows += [{**row, "image": place / row["image"]} for row in json.loads(index.read_text())]
    rows = [row for row in rows if row["image"].exists()]  # somebody may have tidied up
    return sorted(rows, key=lambda row: float(row["loss"]), reverse=True)[:count]
