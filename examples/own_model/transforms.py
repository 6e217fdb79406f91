"""A transform of training images that job.yaml names by `import: transforms:Cutout`."""

import torch
from torch import Tensor


class Cutout:
    """Blackens a square at a random place, some of which may lie outside the image (DeVries and Taylor, 2017).

    Args:
        size: Side of the square (pixels).
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Tensor) -> Tensor:
        """A uint8 image [C, H, W] to another; its random numbers are seeded by the trainer."""
        height, width = image.shape[1:]
        bottom = int(torch.randint(1, height + self.size, ()))
        right = int(torch.randint(1, width + self.size, ()))
        image[:, max(0, bottom - self.size) : bottom, max(0, right - self.size) : right] = 0
        return image
