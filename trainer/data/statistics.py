"""Mean and standard deviation of each channel, exact: computed from integer histograms of the uint8 pixels."""

import math

import torch
from torch import Tensor

from trainer.data.images import ImageSet

# Of red, green and blue over ImageNet's training images, pixels in 0..1: what torchvision's weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CHUNK_BYTES = 16 * 2**20


def pixel_histogram(split: ImageSet) -> Tensor:
    """How often each value occurs in each channel of ``split``, int64 [C, 256]."""
    channels, height, width = split.images.shape
    histogram = torch.zeros(channels, 256, dtype=torch.int64)
    chunk = max(1, _CHUNK_BYTES // (channels * height * width))
    for start in range(0, len(split), chunk):
        images = split.images.batch(split.indices[start : start + chunk])
        for channel in range(channels):
            histogram[channel] += torch.bincount(images[:, channel].flatten(), minlength=256)
    return histogram


def mean_and_std(histogram: Tensor) -> tuple[list[float], list[float]]:
    """Mean and population standard deviation of each channel in the 0..1 scale, from counts [C, 256].

    Sums are exact integers, so the result does not depend on the order or the number of processes that counted. A
    channel that never varies (or an empty histogram) gets a deviation of 1.0: dividing by it must be harmless.
    """
    moments = [_moments(counts) for counts in histogram.tolist()]
    return [mean for mean, _ in moments], [std for _, std in moments]


def _moments(counts: list[int]) -> tuple[float, float]:
    total = sum(counts)
    if total == 0:
        return 0.0, 1.0
    first = sum(count * value for value, count in enumerate(counts))
    second = sum(count * value * value for value, count in enumerate(counts))
    spread = total * second - first * first  # total^2 times the variance, without rounding
    return first / total / 255, math.sqrt(spread) / total / 255 if spread else 1.0
