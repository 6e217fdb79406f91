"""Augmentation: each image's draw depends on (seed, epoch, sample) alone, and the draws are uniform."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from trainer.config.data import Augment
from trainer.data.augment import Augmenter, mirrored, random_below, random_words, shifted

BOTH = Augment(mirror=True, pad_crop=2)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (64, 3, 6, 7), dtype=torch.uint8, generator=generator)


def test_splitmix64_gives_its_published_sequence() -> None:
    # First outputs of the reference implementation from state 1234567 (Vigna's splitmix64.c).
    from trainer.data.augment import _mix

    gamma = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + step * gamma) % 2**64 for step in range(3)], dtype=np.uint64)
    assert _mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("limit", [2, 9, 129])
def test_draws_are_uniform(limit: int) -> None:
    values = random_below(random_words(3, 1, torch.arange(100_000), draws=3), limit)
    for draw in values:
        counts = np.bincount(draw, minlength=limit)
        expected = len(draw) / limit
        chi_squared = float(((counts - expected) ** 2 / expected).sum())
        assert len(counts) == limit
        assert abs(chi_squared - (limit - 1)) < 5 * (2 * (limit - 1)) ** 0.5


def test_draws_of_seeds_epochs_neighbours_and_numbers_are_uncorrelated() -> None:
    ids = torch.arange(50_000)
    base = random_words(0, 0, ids, draws=2)
    others = (base[1], random_words(1, 0, ids, 1)[0], random_words(0, 1, ids, 1)[0], random_words(0, 0, ids + 1, 1)[0])
    for other in others:
        correlation = np.corrcoef(base[0].astype(np.float64), other.astype(np.float64))[0, 1]
        assert abs(correlation) < 5 / 50_000**0.5


def test_the_largest_seed_is_taken() -> None:
    assert random_words(2**63 - 1, 10**6, torch.tensor([0, 2**40]), draws=1).shape == (1, 2)


def test_an_image_is_varied_alike_in_every_batch(images: torch.Tensor) -> None:
    augment = Augmenter(BOTH, seed=5)
    ids = torch.arange(1000, 1064)
    whole = augment(images, 3, ids)
    order = torch.randperm(64)
    assert torch.equal(augment(images[order], 3, ids[order]), whole[order])
    assert torch.equal(augment(images[10:11], 3, ids[10:11]), whole[10:11])


@pytest.mark.parametrize(("seed", "epoch"), [(6, 3), (5, 4)])
def test_another_seed_or_epoch_varies_otherwise(images: torch.Tensor, seed: int, epoch: int) -> None:
    ids = torch.arange(64)
    assert not torch.equal(Augmenter(BOTH, 5)(images, 3, ids), Augmenter(BOTH, seed)(images, epoch, ids))


def test_about_half_of_the_images_are_mirrored(images: torch.Tensor) -> None:
    same = torch.arange(1, 8, dtype=torch.uint8).expand(4000, 1, 1, 7)
    flipped = Augmenter(Augment(mirror=True), 0)(same, 0, torch.arange(4000))[:, 0, 0, 0] == 7
    assert 0.45 < flipped.float().mean() < 0.55


def test_mirrored_flips_the_chosen_images_only(images: torch.Tensor) -> None:
    choice = torch.arange(64) % 2
    result = mirrored(images, choice)
    assert torch.equal(result[::2], images[::2])
    assert torch.equal(result[1::2], images[1::2].flip(3))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shifted_cuts_each_image_at_its_own_place(images: torch.Tensor, dtype: torch.dtype) -> None:
    images = images.to(dtype)
    tops, lefts = torch.randint(0, 5, (2, 64)).unbind()
    padded = functional.pad(images, (2, 2, 2, 2))
    expected = [image[:, top : top + 6, left : left + 7] for image, top, left in zip(padded, tops, lefts, strict=True)]
    result = shifted(images, 2, tops, lefts)
    assert torch.equal(result, torch.stack(expected))
    assert result.dtype == dtype


def test_every_place_of_the_crop_occurs() -> None:
    dot = torch.zeros(2000, 1, 5, 5, dtype=torch.uint8)
    dot[:, :, 2, 2] = 1
    moved = Augmenter(Augment(pad_crop=2), 1)(dot, 0, torch.arange(2000))
    assert (moved.sum(dim=(0, 1)) > 0).all()
    assert (moved.sum(dim=(1, 2, 3)) == 1).all()


def test_nothing_asked_for_changes_nothing(images: torch.Tensor) -> None:
    assert Augmenter(Augment(), 0)(images, 0, torch.arange(64)) is images


def test_the_input_is_left_as_it_was(images: torch.Tensor) -> None:
    before = images.clone()
    Augmenter(BOTH, 0)(images, 0, torch.arange(64))
    assert torch.equal(images, before)
