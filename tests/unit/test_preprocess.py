"""From uint8 to what a model takes."""

import pytest
import torch
from torch.nn import functional

from trainer.data.preprocess import Preprocess

MEAN, STD = [0.2, 0.5, 0.7], [0.3, 0.25, 0.1]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 10, 12), dtype=torch.uint8)


def _normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (MEAN, STD))
    return (images.double() / 255 - mean) / std


def test_normalises_each_channel(images: torch.Tensor) -> None:
    result = Preprocess(MEAN, STD)(images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), _normalised(images), rtol=1e-5, atol=1e-5)


def test_resizes_with_antialiasing(images: torch.Tensor) -> None:
    result = Preprocess(MEAN, STD, image_size=5)(images)
    expected = functional.interpolate(_normalised(images), (5, 5), mode="bilinear", antialias=True)
    torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-4)


def test_grey_is_repeated_where_the_model_wants_colour() -> None:
    grey = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    colour = Preprocess([0.4], [0.2], channels=3)(grey)
    assert colour.shape == (2, 3, 8, 8)
    assert torch.equal(colour[:, 2:], Preprocess([0.4], [0.2])(grey))


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("size", [None, 5])
def test_grey_becomes_colour_before_it_is_normalised_where_there_are_means_of_colours(
    channels: int | None, size: int | None
) -> None:
    grey = torch.randint(0, 256, (4, 1, 10, 12), dtype=torch.uint8)
    before = grey.clone()
    preprocess = Preprocess(MEAN, STD, size, channels)
    result = preprocess(grey)
    assert preprocess.output_shape((1, 10, 12)) == tuple(result.shape[1:])
    expected = Preprocess(MEAN, STD, size)(grey.repeat(1, 3, 1, 1))
    torch.testing.assert_close(result, expected)
    assert not torch.equal(result[:, 0], result[:, 1])
    assert torch.equal(grey, before)


def test_grey_that_becomes_colour_can_be_exported() -> None:
    preprocess = Preprocess(MEAN, STD, image_size=6)
    grey = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    program = torch.export.export(preprocess, (grey[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(grey), preprocess(grey))


def test_colour_is_not_turned_grey() -> None:
    with pytest.raises(ValueError, match="cannot turn 3 channels into 1"):
        Preprocess(MEAN, STD, channels=1)


@pytest.mark.parametrize(("size", "channels"), [(None, None), (16, None), (16, 3), (None, 3)])
def test_output_shape_is_what_comes_out(size: int | None, channels: int | None) -> None:
    preprocess = Preprocess([0.4], [0.2], size, channels)
    images = torch.zeros(2, 1, 8, 6, dtype=torch.uint8)
    assert preprocess.output_shape((1, 8, 6)) == tuple(preprocess(images).shape[1:])


def test_channels_last_stays_channels_last(images: torch.Tensor) -> None:
    result = Preprocess(MEAN, STD)(images.contiguous(memory_format=torch.channels_last))
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_the_input_is_left_as_it_was(images: torch.Tensor) -> None:
    before = images.clone()
    Preprocess(MEAN, STD)(images)
    assert torch.equal(images, before)


def test_it_adds_nothing_to_a_checkpoint() -> None:
    assert not Preprocess(MEAN, STD).state_dict()
