"""Images in the forms that data sets give them, as uint8 [C, H, W]."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer.data.decode import eight_bit

_COLOURS = (1, 3, 4)
_LOWEST = max(_COLOURS) + 1
"""An image of fewer rows than that is rather one with its channels first."""


def as_pixels(image: Any) -> Tensor:
    """A PIL image, or a uint8 tensor or array [C, H, W] or [H, W], as uint8 [C, H, W]. Grey stays grey.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(image, Image.Image):
        plain = eight_bit(image.convert("L") if image.mode == "1" else image)
        image = np.array(plain)  # a copy: PIL's own memory is read-only
        image = image.transpose(2, 0, 1) if image.ndim == 3 else image
    elif not isinstance(image, Tensor | np.ndarray):
        kind = type(image).__name__
        raise ValueError(f"the image is of type {kind}; expected a PIL image, tensor or array")  # noqa: TRY004 - one kind
    pixels = image if isinstance(image, Tensor) else torch.from_numpy(np.ascontiguousarray(image))
    if pixels.dtype != torch.uint8:
        raise ValueError(
            f"the image is {str(pixels.dtype).removeprefix('torch.')}; expected uint8, 0 to 255, which the trainer "
            "normalises by itself (train.data.normalization)"
        )
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ValueError(f"the image has shape {list(pixels.shape)}; expected [C, H, W] or [H, W]")
    if pixels.ndim == 2:
        return pixels.unsqueeze(0)
    if pixels.shape[2] in _COLOURS and pixels.shape[0] >= _LOWEST:
        raise ValueError(f"the image has shape {list(pixels.shape)}, channels last; expected [C, H, W]")
    return pixels


def central_square(pixels: Tensor, size: int) -> Tensor:
    """The largest square in the middle of ``pixels``, uint8 [C, H, W], scaled to ``size`` as a folder's images are."""
    _, height, width = pixels.shape
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    if (height, width) == (size, size):
        return pixels
    box = (left, top, left + side, top + side)
    planes = [
        Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR, box=box) for plane in pixels.numpy()
    ]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))
