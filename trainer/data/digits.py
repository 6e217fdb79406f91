"""The digits that scikit-learn carries: 1,797 grey images of 8x8 pixels, ten classes."""

import torch

from trainer.config.data import Digits
from trainer.data.images import ImageSet, ImageSplits, InMemoryImages
from trainer.data.splits import carve_validation, stratified_split, thin
from trainer.data.statistics import mean_and_std, pixel_histogram


def load_digits(config: Digits) -> ImageSplits:
    """Split the digits into train, validation and test, class by class. Ink 0..16 becomes 0..240.

    Raises:
        DataError: The training split cannot be split or thinned as ``config`` says.
    """
    from sklearn import datasets  # 0.8 s to import: only where it is used

    bunch = datasets.load_digits()
    pixels = torch.from_numpy(bunch.images * 15).to(torch.uint8).unsqueeze(1)
    digits = ImageSet(InMemoryImages(pixels), torch.arange(len(pixels)), torch.from_numpy(bunch.target).to(torch.int64))
    classes = tuple(str(name) for name in bunch.target_names)
    rest, held_out = stratified_split(digits.labels, config.test_fraction, config.split_seed)
    train, validation = carve_validation(digits.select(rest), config)
    train = thin(train, config, classes)
    mean, std = mean_and_std(pixel_histogram(train))
    return ImageSplits(train, validation, digits.select(held_out), classes, mean, std, test_is_drawn=True)
