"""Image files to square uint8 images, by Pillow in threads: its decoders and its resize release the GIL."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from trainer.data.images import Shape
from trainer.exits import DataError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Above this an image is taken for a decompression bomb; Pillow itself only warns here.
MAX_PIXELS = 89_478_485

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UndecodableImage(Exception):
    """The bytes of a file are not an image that can be used."""


def decode_image(data: bytes, size: int) -> Image.Image:
    """Decode an image file to RGB, upright, its central square scaled to ``size`` x ``size`` pixels.

    A pure function of ``data``: every rank that decodes the same file gets the same pixels or the same error.

    Raises:
        UndecodableImage: The bytes are damaged, no image, or promise more than MAX_PIXELS pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _central_square(image, size)
    except MemoryError:
        raise
    except Exception as error:  # decoders meet damaged bytes with nearly any exception
        raise UndecodableImage(str(error) or type(error).__name__) from error


def decode_to_shape(data: bytes, shape: Shape) -> npt.NDArray[np.uint8]:
    """Decode an image file to ``shape`` (1 or 3 channels, height and width in pixels): uint8 [C, H, W].

    The same steps that a folder of images takes; where ``shape`` is not square, the sides are then scaled to it.

    Raises:
        UndecodableImage: As for ``decode_image``, or the number of channels is neither.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise UndecodableImage(f"the network takes {channels} channels; files have 1 or 3")
    image = decode_image(data, max(height, width))
    if height != width:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return channels_first(image) if channels == 3 else np.asarray(image.convert("L"))[None]


def _central_square(image: Image.Image, size: int) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise UndecodableImage(f"{image.width}x{image.height} pixels; expected at most {MAX_PIXELS} in all")
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    # Lets the JPEG decoder scale down by 2, 4 or 8 on the way, to no less than twice the size: the antialiased resize
    # that follows then hides the difference. Does nothing for other formats.
    image.draft(None, (2 * size, 2 * size))
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    # A box of fractions keeps the crop exactly central, so cropping before turning upright changes nothing.
    square = eight_bit(image).resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return (square if turn is None else square.transpose(turn)).convert("RGB")


def eight_bit(image: Image.Image) -> Image.Image:
    """Grey stays grey for now (a third of the resizing), 16-bit grey keeps its upper byte, all else becomes RGB."""
    if image.mode == "L":
        return image
    if image.mode.startswith("I"):  # Pillow would clip everything above 255 to white
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def channels_first(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an RGB image as uint8 [3, H, W], a view."""
    return np.asarray(image).transpose(2, 0, 1)


class DecodedOnDemand:
    """Images that are decoded when a batch asks for them, for sets that do not fit the memory of a node.

    Args:
        root: Folder that ``files`` are relative to.
        files: Path of each image.
        size: Side of the squares (pixels).
        threads: How many images are decoded at a time.
    """

    def __init__(self, root: Path, files: Sequence[str], size: int, threads: int) -> None:
        self._root = root
        self._files = files
        self._size = size
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    @property
    def shape(self) -> Shape:
        """Channels, height and width (pixels)."""
        return 3, self._size, self._size

    def __len__(self) -> int:
        return len(self._files)

    def batch(self, indices: Tensor) -> Tensor:
        """Decode the images at ``indices``.

        Raises:
            DataError: A file that was readable when the run started no longer is.
        """
        pixels = np.empty((len(indices), *self.shape), dtype=np.uint8)
        list(self._pool.map(self._decode_into, pixels, indices.tolist()))
        return torch.from_numpy(pixels)

    def _decode_into(self, target: npt.NDArray[np.uint8], index: int) -> None:
        path = self._root / self._files[index]
        try:
            target[...] = channels_first(decode_image(path.read_bytes(), self._size))
        except (OSError, UndecodableImage) as error:
            raise DataError(f"{path}: no longer readable ({error})") from error
