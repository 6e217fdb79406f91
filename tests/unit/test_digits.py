"""The digits data set and what every data set shares: splits, counts, statistics."""

import pytest
import torch

from trainer.config.data import Digits
from trainer.data.digits import load_digits
from trainer.data.images import ImageSet, ImageSplits, InMemoryImages, PackedStrings
from trainer.data.load import load_images
from trainer.data.splits import stratified_split
from trainer.data.statistics import mean_and_std, pixel_histogram
from trainer.exits import DataError


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load_digits(Digits(kind="digits", validation_fraction=0.1))


def _all_pixels(split: ImageSet) -> torch.Tensor:
    return split.batch(torch.arange(len(split)))[0]


def test_every_digit_is_in_exactly_one_split(digits: ImageSplits) -> None:
    assert digits.validation is not None
    ids = torch.cat([digits.train.indices, digits.validation.indices, digits.test.indices])
    assert sorted(ids.tolist()) == list(range(1797))


def test_splits_keep_the_share_of_every_class(digits: ImageSplits) -> None:
    counts = digits.counts()
    assert set(counts) == {"train", "validation", "test"}
    assert all(35 <= count <= 37 for count in counts["test"].values())
    assert all(14 <= count <= 15 for count in counts["validation"].values())


def test_ink_is_scaled_to_bytes(digits: ImageSplits) -> None:
    pixels = _all_pixels(digits.train)
    assert pixels.dtype == torch.uint8
    assert pixels.shape[1:] == (1, 8, 8) == digits.train.images.shape
    assert int(pixels.max()) == 240


def test_the_split_is_decided_by_its_own_seed(digits: ImageSplits) -> None:
    again = load_images(Digits(kind="digits", validation_fraction=0.1))
    other = load_images(Digits(kind="digits", validation_fraction=0.1, split_seed=1))
    assert torch.equal(again.test.indices, digits.test.indices)
    assert not torch.equal(other.test.indices, digits.test.indices)


def test_without_a_fraction_there_is_no_validation_split() -> None:
    assert load_images(Digits(kind="digits")).validation is None


def test_a_batch_gives_images_labels_and_sample_ids_in_the_order_asked_for(digits: ImageSplits) -> None:
    images, labels, ids = digits.train.batch(torch.tensor([5, 2]))
    assert ids.tolist() == digits.train.indices[[5, 2]].tolist()
    assert labels.tolist() == digits.train.labels[[5, 2]].tolist()
    assert torch.equal(images, digits.train.images.batch(ids))
    assert digits.train.names(torch.tensor([5, 2])) == [str(sample) for sample in ids.tolist()]


def test_mean_and_std_are_exactly_those_of_the_training_split(digits: ImageSplits) -> None:
    pixels = _all_pixels(digits.train).double() / 255
    assert digits.mean == pytest.approx([pixels.mean().item()], rel=1e-14)
    assert digits.std == pytest.approx([pixels.std(correction=0).item()], rel=1e-14)


def test_statistics_count_each_channel_on_its_own() -> None:
    pixels = torch.randint(0, 256, (50, 3, 5, 7), dtype=torch.uint8)
    split = ImageSet(InMemoryImages(pixels), torch.arange(0, 50, 2), torch.zeros(25, dtype=torch.int64))
    histogram = pixel_histogram(split)
    assert histogram.sum(dim=1).tolist() == [25 * 35] * 3
    mean, std = mean_and_std(histogram)
    chosen = pixels[::2].double() / 255
    assert mean == pytest.approx(chosen.mean(dim=(0, 2, 3)).tolist(), rel=1e-14)
    assert std == pytest.approx(chosen.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_a_channel_that_never_varies_is_not_divided_by_zero() -> None:
    histogram = torch.zeros(1, 256, dtype=torch.int64)
    histogram[0, 51] = 10
    assert mean_and_std(histogram) == ([0.2], [1.0])


def test_a_class_of_one_sample_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"cannot hold out 0\.5 of 5 samples class by class"):
        stratified_split(torch.tensor([0, 0, 0, 0, 1]), 0.5, seed=0)


def test_images_that_are_not_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        InMemoryImages(torch.zeros(2, 1, 4, 4))


def test_packed_strings_read_like_a_list() -> None:
    strings = ["", "a", "größe/ä.jpg", "b" * 300, "bad\udcff"]
    packed = PackedStrings(strings)
    assert list(packed) == strings
    assert len(packed) == 5
    with pytest.raises(IndexError):
        packed[5]
