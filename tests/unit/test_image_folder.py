"""Image folders: layouts, decoding, damaged files, and the ranks of a node that decode together."""

import errno
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from trainer.config.data import ImageFolder
from trainer.data import decode, decode_together
from trainer.data.decode import DecodedOnDemand, UndecodableImage, decode_image
from trainer.data.image_folder import load_image_folder
from trainer.data.images import ImageSplits, InMemoryImages
from trainer.data.load import load_images
from trainer.data.node import Node
from trainer.exits import DataError, StorageError


def _picture(seed: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    """A smooth random picture, so that JPEG keeps it nearly as it is."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _save(root: Path, name: str, seed: int) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    _picture(seed).save(root / name)


def _encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """<class>/*: ten images each of ant and bee."""
    for index in range(10):
        _save(tmp_path / "set", f"ant/{index}.png", index)
        _save(tmp_path / "set", f"bee/{index}.jpg", 100 + index)
    return tmp_path / "set"


def _config(root: Path, **fields: Any) -> ImageFolder:
    return ImageFolder.model_validate({"kind": "image-folder", "path": str(root), "image_size": 8, **fields})


def _load(root: Path, **fields: Any) -> ImageSplits:
    return load_images(_config(root, **fields))


def _names(splits: ImageSplits) -> dict[str, list[str]]:
    sets = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: part.names(torch.arange(len(part))) for name, part in sets.items() if part is not None}


# Layouts


def test_class_folders_are_split_class_by_class(flat: Path) -> None:
    splits = _load(flat, validation_fraction=0.25)
    assert splits.classes == ("ant", "bee")
    assert splits.counts() == {
        "train": {"ant": 6, "bee": 6},
        "validation": {"ant": 2, "bee": 2},
        "test": {"ant": 2, "bee": 2},
    }
    names = [name for part in _names(splits).values() for name in part]
    assert len(set(names)) == 20
    assert "ant/3.png" in names


def test_the_image_is_that_of_its_name_and_label(flat: Path) -> None:
    train = _load(flat).train
    images, labels, _ = train.batch(torch.arange(len(train)))
    for image, label, name in zip(images, labels.tolist(), train.names(torch.arange(len(train))), strict=True):
        expected = decode_image((flat / name).read_bytes(), 8)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(expected))
        assert name.startswith(("ant", "bee")[label])


def test_folders_of_their_own_are_the_splits(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for index in range(count):
            _save(tmp_path, f"{part}/x/{index}.png", index)
            _save(tmp_path, f"{part}/y/deep/{index}.png", index)
    assert {name: len(files) for name, files in _names(_load(tmp_path)).items()} == {
        "train": 6,
        "validation": 4,
        "test": 2,
    }
    with pytest.raises(DataError, match="has val/ already"):
        _load(tmp_path, validation_fraction=0.2)


def test_val_is_the_test_where_there_is_no_test(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for index in range(4):
            _save(tmp_path, f"{part}/x/{index}.png", index)
            _save(tmp_path, f"{part}/y/{index}.png", index)
    names = _names(_load(tmp_path, validation_fraction=0.25))
    assert all(name.startswith("val/") for name in names["test"])
    assert all(name.startswith("train/") for name in names["train"] + names["validation"])


def test_hidden_and_other_files_are_left_alone(flat: Path) -> None:
    (flat / ".cache" / "x").mkdir(parents=True)
    (flat / "ant" / "notes.txt").write_text("no image")
    (flat / "ant" / "._0.png").write_bytes(b"no image")
    (flat / "readme.md").write_text("no class")
    splits = _load(flat)
    assert splits.classes == ("ant", "bee")
    assert len(splits.train) + len(splits.test) == 20


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: root.rename(root.parent / "moved"), "no such folder; expected train/<class>"),
        (lambda root: [path.rename(root.parent / path.name) for path in root.iterdir()], "has no class folders"),
        (lambda root: (root / "cat").mkdir(), "cat: has no images; expected .bmp"),
        (lambda root: (root / "ant").rename(root / "train"), "train: has no class folders"),
    ],
)
def test_a_wrong_layout_is_explained(flat: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(flat)
    with pytest.raises(DataError, match=message):
        _load(flat)


def test_a_class_that_is_only_tested_is_refused(tmp_path: Path) -> None:
    _save(tmp_path, "train/ant/0.png", 0)
    _save(tmp_path, "test/cat/0.png", 0)
    with pytest.raises(DataError, match="test: classes cat do not occur in"):
        _load(tmp_path)


# Decoding


@pytest.mark.parametrize("size", [(20, 16), (16, 20), (9, 9), (5, 40)])
def test_decoding_keeps_the_central_square(size: tuple[int, int]) -> None:
    image = _picture(0, size)
    expected = ImageOps.fit(image, (8, 8), Image.Resampling.BILINEAR)
    difference = np.asarray(decode_image(_encoded(image), 8)).astype(int) - np.asarray(expected)
    assert abs(difference).max() <= 1


def test_large_jpegs_are_scaled_while_decoding_to_nearly_the_same_pixels() -> None:
    image = _picture(0, (640, 480))
    fast = np.asarray(decode_image(_encoded(image, "JPEG", quality=95), 32)).astype(int)
    assert abs(fast - np.asarray(ImageOps.fit(image, (32, 32), Image.Resampling.BILINEAR))).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photographs_are_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encoded(_picture(1, (24, 16)), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = ImageOps.fit(upright, (8, 8), Image.Resampling.BILINEAR)
    difference = np.asarray(decode_image(data, 8)).astype(int) - np.asarray(expected)
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_colour(mode: str) -> None:
    picture = _picture(2)
    if mode == "I;16":
        grey = np.asarray(picture.convert("L"))
        image, expected = Image.fromarray(grey.astype(np.uint16) * 257), picture.convert("L").convert("RGB")
    else:
        image = picture.convert(mode)
        expected = image.convert("RGB")
    decoded = decode_image(_encoded(image, "TIFF" if mode == "CMYK" else "PNG"), 16)
    assert decoded.mode == "RGB"
    fitted = ImageOps.fit(expected, (16, 16), Image.Resampling.BILINEAR)
    assert abs(np.asarray(decoded).astype(int) - np.asarray(fitted)).max() <= 1


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", _encoded(_picture(0))[:-30], _encoded(_picture(0, (200, 200)), "JPEG")[:900]],
    ids=["empty", "text", "cut png", "cut jpeg"],
)
def test_damaged_bytes_are_told_apart(data: bytes) -> None:
    with pytest.raises(UndecodableImage):
        decode_image(data, 8)


def test_a_decompression_bomb_is_an_error_not_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 399)
    with pytest.raises(UndecodableImage, match="20x20 pixels; expected at most 399"):
        decode_image(_encoded(_picture(0, (20, 20))), 8)


# Damaged files


@pytest.fixture
def damaged(flat: Path) -> Path:
    """One of the twenty files is no image."""
    (flat / "bee" / "4.jpg").write_bytes(b"\xff\xd8\xff\xe0 no jpeg")
    return flat


def test_a_damaged_file_ends_the_run_by_default(damaged: Path) -> None:
    with pytest.raises(DataError, match=r"bee/4.jpg: not a readable image \(.*on_corrupt: skip"):
        _load(damaged)


def test_a_damaged_file_is_skipped_and_moves_no_other(flat: Path) -> None:
    whole = _names(_load(flat))
    (flat / "bee" / "4.jpg").write_bytes(b"no jpeg")
    splits = _load(flat, on_corrupt="skip", max_corrupt_fraction=0.05)
    assert splits.skipped == ("bee/4.jpg",)
    assert _names(splits) == {part: [name for name in names if name != "bee/4.jpg"] for part, names in whole.items()}


def test_too_many_damaged_files_end_the_run(damaged: Path) -> None:
    (damaged / "ant" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 20 images are unreadable, .*max_corrupt_fraction = 0.05"):
        _load(damaged, on_corrupt="skip", max_corrupt_fraction=0.05)


def test_a_class_that_is_damaged_altogether_is_named(flat: Path) -> None:
    for path in (flat / "bee").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="class bee has no readable training image"):
        _load(flat, on_corrupt="skip", max_corrupt_fraction=0.9)


def test_failing_storage_is_never_skipped(flat: Path) -> None:
    (flat / "ant" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png: the storage failed to deliver it"):
        _load(flat, on_corrupt="skip", max_corrupt_fraction=0.9)


# Memory, and the ranks of a node


def _pixels(splits: ImageSplits) -> torch.Tensor:
    return splits.train.batch(torch.arange(len(splits.train)))[0]


def test_statistics_are_those_of_the_readable_training_images(damaged: Path) -> None:
    splits = _load(damaged, on_corrupt="skip", max_corrupt_fraction=0.1)
    pixels = _pixels(splits).double() / 255
    assert splits.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), rel=1e-12)
    assert splits.std == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_a_set_over_the_budget_is_decoded_on_demand_to_the_same_pixels(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _load(flat)
    monkeypatch.setattr(decode_together, "CACHE_BYTES", 100)
    streamed = _load(flat)
    assert isinstance(kept.train.images, InMemoryImages)
    assert isinstance(streamed.train.images, DecodedOnDemand)
    assert torch.equal(_pixels(kept), _pixels(streamed))
    assert (kept.mean, kept.std) == (streamed.mean, streamed.std)


def test_a_file_that_vanishes_while_training_is_named(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_together, "CACHE_BYTES", 100)
    splits = _load(flat)
    first = splits.train.names(torch.tensor([0]))[0]
    (flat / first).unlink()
    with pytest.raises(DataError, match=f"{first}: no longer readable"):
        splits.train.batch(torch.tensor([0]))


def _load_on_ranks(config: ImageFolder, ranks: int) -> list[Any]:
    """Load on several ranks of one node, played by threads; each one's splits or error."""
    barrier = threading.Barrier(ranks, timeout=20)

    def wait() -> None:
        barrier.wait()

    def load(rank: int) -> ImageSplits | DataError:
        try:
            return load_image_folder(config, Node(rank, ranks, wait))
        except DataError as error:
            return error

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(load, range(ranks)))


@pytest.mark.parametrize("budget", [2**20, 100])
def test_the_ranks_of_a_node_share_the_work_and_agree(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(decode_together, "CACHE_BYTES", budget)
    config = _config(damaged, on_corrupt="skip", max_corrupt_fraction=0.1)
    alone = load_image_folder(config, Node())
    decoded: list[int] = []

    def counting_decode(data: bytes, size: int) -> Image.Image:
        decoded.append(size)
        return decode_image(data, size)

    monkeypatch.setattr(decode_together, "decode_image", counting_decode)
    for splits in _load_on_ranks(config, 3):
        assert torch.equal(_pixels(splits), _pixels(alone))
        assert (splits.mean, splits.std, splits.skipped) == (alone.mean, alone.std, alone.skipped)
        assert splits.counts() == alone.counts()
    assert len(decoded) == 20


def test_all_ranks_raise_what_one_of_them_met(damaged: Path) -> None:
    errors = _load_on_ranks(_config(damaged), 3)
    assert all(isinstance(error, DataError) for error in errors)
    assert len({str(error) for error in errors}) == 1


def test_no_temporary_file_is_left(flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    splits = _load(flat)
    assert list(folder.iterdir()) == []
    assert _pixels(splits).any()


def test_without_room_for_the_pixels_images_are_decoded_on_demand(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = os.posix_fallocate

    def reserve_little(descriptor: int, offset: int, size: int) -> None:
        if size > 2**20:
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", reserve_little)
    splits = _load(flat, image_size=200)
    assert isinstance(splits.train.images, DecodedOnDemand)
    assert _pixels(splits).shape == (16, 3, 200, 200)


def test_a_temporary_folder_that_takes_nothing_is_an_error_with_a_way_out(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="set TMPDIR"):
        _load(flat)
