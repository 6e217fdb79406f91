"""Training on fewer samples: which ones stay, and how each data set is thinned and normalised."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from trainer.config.data import Digits, Idx, ImageFolder
from trainer.data.idx import load_idx
from trainer.data.image_folder import load_image_folder
from trainer.data.images import ImageSet, ImageSplits
from trainer.data.load import load_images
from trainer.data.node import Node
from trainer.data.preprocess import Preprocess
from trainer.data.splits import thinned
from trainer.data.statistics import IMAGENET_MEAN, IMAGENET_STD
from trainer.exits import DataError

CLASSES = ("ant", "bee", "cat")


def _config(**fields: Any) -> Digits:
    return Digits.model_validate({"kind": "digits", **fields})


def _counts(labels: Tensor, kept: Tensor) -> list[int]:
    return torch.bincount(labels[kept], minlength=len(CLASSES)).tolist()


def _pixels(split: ImageSet) -> Tensor:
    return split.batch(torch.arange(len(split)))[0]


def _check_statistics(splits: ImageSplits) -> None:
    """Mean and std are those of the training split as it is, and of nothing else."""
    pixels = _pixels(splits.train).double() / 255
    assert splits.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), rel=1e-12)
    assert splits.std == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-12)


# Which samples stay

labels_of_every_class = st.lists(st.integers(0, 2), max_size=60).map(lambda rest: torch.tensor([0, 1, 2, *rest]))


@given(
    labels=labels_of_every_class,
    seed=st.integers(0, 2**62),
    share=st.floats(0.0, 1.0, exclude_min=True),
    number=st.one_of(st.none(), st.just(1)),
)
@settings(max_examples=100, deadline=None)
def test_classes_are_thinned_to_what_was_asked_and_the_order_stays(
    labels: Tensor, seed: int, share: float, number: int | None
) -> None:
    kept = thinned(labels, _config(split_seed=seed, class_shares={"bee": share}, samples_per_class=number), CLASSES)
    assert kept.tolist() == sorted(set(kept.tolist()))
    whole = [number] * 3 if number else _counts(labels, torch.arange(len(labels)))
    assert _counts(labels, kept) == [whole[0], max(1, round(share * whole[1])), whole[2]]


@given(labels=labels_of_every_class, seed=st.integers(0, 2**62))
@settings(max_examples=50, deadline=None)
def test_the_same_samples_stay_each_time_and_whatever_torchs_own_seed(labels: Tensor, seed: int) -> None:
    config = _config(split_seed=seed, class_shares={"ant": 0.5, "cat": 0.3})
    torch.manual_seed(0)
    first = thinned(labels, config, CLASSES)
    torch.manual_seed(1)
    assert torch.equal(thinned(labels, config, CLASSES), first)


def test_samples_are_drawn_by_the_seed_of_the_splits() -> None:
    labels = torch.arange(300) % 3
    draws = {
        tuple(thinned(labels, _config(samples_per_class=50, split_seed=seed), CLASSES).tolist()) for seed in range(20)
    }
    assert len(draws) == 20
    assert {position for draw in draws for position in draw} == set(range(300))  # each place has its chance


def test_each_class_has_a_draw_of_its_own() -> None:
    kept = thinned(torch.arange(300) % 3, _config(samples_per_class=20), CLASSES)
    places = {tuple((kept[kept % 3 == label] // 3).tolist()) for label in range(3)}
    assert len(places) == 3


def test_a_larger_draw_keeps_a_smaller_one_and_classes_do_not_disturb_each_other() -> None:
    labels = torch.arange(300) % 3
    small, large = (set(thinned(labels, _config(samples_per_class=n), CLASSES).tolist()) for n in (10, 30))
    assert small < large
    fewer_bees = set(thinned(labels, _config(samples_per_class=30, class_shares={"bee": 0.5}), CLASSES).tolist())
    assert fewer_bees < large
    assert all(labels[position] == 1 for position in large - fewer_bees)
    assert len(large - fewer_bees) == 15


def test_more_samples_than_a_class_has_are_refused_with_its_name_and_count() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    assert _counts(labels, thinned(labels, _config(samples_per_class=2), CLASSES)) == [2, 2, 2]
    message = r"^train\.data\.samples_per_class: class 'bee' has 2 training samples; expected at least 3$"
    with pytest.raises(DataError, match=message):
        thinned(labels, _config(samples_per_class=3), CLASSES)


def test_a_share_of_an_unknown_class_is_refused_with_the_known_ones() -> None:
    message = r"^train\.data\.class_shares: unknown class 'cow' \(allowed ant, bee, cat\)$"
    with pytest.raises(DataError, match=message):
        thinned(torch.tensor([0, 1, 2]), _config(class_shares={"ant": 0.5, "cow": 0.5}), CLASSES)


# Digits


def test_only_the_training_split_is_thinned() -> None:
    fields: dict[str, Any] = {"validation_fraction": 0.2, "split_seed": 3}
    whole, cut = (load_images(_config(**fields, class_shares=shares)) for shares in ({}, {"8": 0.05}))
    assert whole.validation is not None
    assert cut.validation is not None
    assert torch.equal(cut.test.indices, whole.test.indices)
    assert torch.equal(cut.validation.indices, whole.validation.indices)
    expected = {**whole.counts()["train"], "8": round(0.05 * whole.counts()["train"]["8"])}
    assert cut.counts()["train"] == expected
    assert set(cut.train.indices.tolist()) < set(whole.train.indices.tolist())
    assert torch.equal(cut.train.indices, cut.train.indices.sort().values)
    assert cut.mean != whole.mean
    _check_statistics(cut)


def test_digits_of_an_unknown_class_are_refused() -> None:
    with pytest.raises(DataError, match=r"unknown class 'eight' \(allowed 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\)"):
        load_images(_config(class_shares={"eight": 0.5}))


# IDX files


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """60 training and 9 test images of 4x6 pixels, three classes."""
    for prefix, count in (("train", 60), ("t10k", 9)):
        pixels = torch.randint(0, 256, (count, 4, 6), dtype=torch.uint8)
        header = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 4, 0, 0, 0, 6])
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels.numpy().tobytes())
        labels = (torch.arange(count) % 3).to(torch.uint8)
        header = bytes([0, 0, 8, 1, 0, 0, 0, count])
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.numpy().tobytes())
    return tmp_path


def test_idx_files_are_thinned_by_the_names_of_their_classes(idx_folder: Path) -> None:
    config = Idx(
        kind="idx",
        path=str(idx_folder),
        classes=CLASSES,
        validation_fraction=0.1,
        samples_per_class=10,
        class_shares={"cat": 0.2},
    )
    splits = load_idx(config)
    assert splits.counts() == {
        "train": {"ant": 10, "bee": 10, "cat": 2},
        "validation": {"ant": 2, "bee": 2, "cat": 2},
        "test": {"ant": 3, "bee": 3, "cat": 3},
    }
    _check_statistics(splits)


# Image folders


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """<class>/*: twenty images each of ant and bee."""
    for number, name in enumerate(f"{cls}/{index:02}.png" for cls in ("ant", "bee") for index in range(20)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def _load_folder(root: Path, **fields: Any) -> ImageSplits:
    config = {"kind": "image-folder", "path": str(root), "image_size": 8, "validation_fraction": 0.25, **fields}
    return load_image_folder(ImageFolder.model_validate(config), Node())


def _names(split: ImageSet | None) -> list[str]:
    assert split is not None
    return split.names(torch.arange(len(split)))


def test_image_folders_are_thinned_and_the_other_splits_stay(image_folder: Path) -> None:
    whole, cut = _load_folder(image_folder), _load_folder(image_folder, samples_per_class=6, class_shares={"bee": 0.5})
    assert cut.counts()["train"] == {"ant": 6, "bee": 3}
    assert set(_names(cut.train)) < set(_names(whole.train))
    assert (_names(cut.validation), _names(cut.test)) == (_names(whole.validation), _names(whole.test))
    _check_statistics(cut)


def test_images_keep_their_names_and_labels_when_others_are_left_out(image_folder: Path) -> None:
    splits = _load_folder(image_folder, samples_per_class=5)
    for split in (splits.train, splits.validation, splits.test):
        assert split is not None
        images, labels, _ = split.batch(torch.arange(len(split)))
        for image, label, name in zip(images, labels.tolist(), _names(split), strict=True):
            assert name.startswith(CLASSES[label])
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(Image.open(image_folder / name)))


def test_files_that_are_left_out_are_not_read(image_folder: Path) -> None:
    whole, cut = _load_folder(image_folder), _load_folder(image_folder, samples_per_class=2)
    for name in set(_names(whole.train)) - set(_names(cut.train)):
        (image_folder / name).write_bytes(b"no image")
    again = _load_folder(image_folder, samples_per_class=2)
    assert torch.equal(_pixels(again.train), _pixels(cut.train))
    with pytest.raises(DataError, match="not a readable image"):
        _load_folder(image_folder, samples_per_class=12)


def test_too_few_images_of_a_class_are_refused(image_folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"samples_per_class: class 'ant' has 12 training samples; expected at least 13"
    ):
        _load_folder(image_folder, samples_per_class=13)


# Normalisation


def test_grey_digits_become_colour_with_the_statistics_of_imagenet() -> None:
    splits = load_images(_config(normalization="imagenet"))
    assert (splits.mean, splits.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    grey = _pixels(splits.test)[:5]
    colour = Preprocess(splits.mean, splits.std)(grey)
    assert colour.shape == (5, 3, 8, 8)
    for channel in range(3):
        expected = (grey[:, 0].double() / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        torch.testing.assert_close(colour[:, channel].double(), expected, rtol=1e-5, atol=1e-5)


def test_every_loader_takes_the_statistics_of_imagenet(image_folder: Path) -> None:
    config = {"kind": "image-folder", "path": str(image_folder), "image_size": 8, "normalization": "imagenet"}
    splits = load_images(ImageFolder.model_validate(config))
    assert (splits.mean, splits.std) == (list(IMAGENET_MEAN), list(IMAGENET_STD))


def test_idx_files_take_the_statistics_of_imagenet(idx_folder: Path) -> None:
    splits = load_images(Idx(kind="idx", path=str(idx_folder), normalization="imagenet"))
    assert (splits.mean, splits.std) == (list(IMAGENET_MEAN), list(IMAGENET_STD))
    assert Preprocess(splits.mean, splits.std).output_shape(splits.train.images.shape) == (3, 4, 6)
