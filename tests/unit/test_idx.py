"""IDX files: what is read, and how damaged ones are refused."""

import gzip
import struct
from pathlib import Path

import pytest
import torch

from trainer.config.data import Idx
from trainer.data.idx import load_idx, read_idx
from trainer.exits import DataError


def _idx_bytes(values: torch.Tensor, kind: int = 8) -> bytes:
    header = struct.pack(">BBBB", 0, 0, kind, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.to(torch.uint8).numpy().tobytes()


def _write(path: Path, values: torch.Tensor) -> None:
    data = _idx_bytes(values)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty training and nine test images of 4x6 pixels, three classes; two files are gzipped."""
    generator = torch.Generator().manual_seed(0)
    _write(tmp_path / "train-images-idx3-ubyte.gz", torch.randint(0, 256, (30, 4, 6), generator=generator))
    _write(tmp_path / "train-labels-idx1-ubyte", torch.arange(30) % 3)
    _write(tmp_path / "t10k-images-idx3-ubyte", torch.randint(0, 256, (9, 4, 6), generator=generator))
    _write(tmp_path / "t10k-labels-idx1-ubyte.gz", torch.arange(9) % 3)
    return tmp_path


def _config(folder: Path, **fields: object) -> Idx:
    return Idx.model_validate({"kind": "idx", "path": str(folder), **fields})


def test_reads_gzipped_and_plain_files(folder: Path) -> None:
    splits = load_idx(_config(folder))
    assert splits.train.images.shape == (1, 4, 6)
    assert (len(splits.train), len(splits.test), splits.validation) == (30, 9, None)
    assert splits.classes == ("0", "1", "2")
    assert splits.counts()["test"] == {"0": 3, "1": 3, "2": 3}


def test_pixels_and_labels_keep_their_order(tmp_path: Path) -> None:
    values = torch.arange(24).view(2, 3, 4)
    _write(tmp_path / "x", values)
    assert torch.equal(read_idx(tmp_path / "x"), values.to(torch.uint8))


def test_the_dotted_names_of_some_mirrors_are_found(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte").rename(folder / "train-labels.idx1-ubyte")
    assert len(load_idx(_config(folder)).train) == 30


def test_validation_is_carved_from_the_training_files(folder: Path) -> None:
    splits = load_idx(_config(folder, validation_fraction=0.2))
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (24, 6, 9)
    assert splits.counts()["validation"] == {"0": 2, "1": 2, "2": 2}


def test_class_names_replace_numbers(folder: Path) -> None:
    assert load_idx(_config(folder, classes=("ant", "bee", "cat"))).classes == ("ant", "bee", "cat")


def test_too_few_class_names_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"labels are 0\.\.2; expected 3 names in classes, got 2"):
        load_idx(_config(folder, classes=("ant", "bee")))


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", "not an IDX file"),
        (b"hello world", "not an IDX file"),
        (b"\0\0\x08\0", "not an IDX file"),
        (b"\0\0\x0d\x01" + struct.pack(">I", 1) + b"\0" * 4, "IDX type 0x0d; expected 0x08"),
        (b"\0\0\x08\x03" + struct.pack(">I", 1), "ends within its header"),
        (_idx_bytes(torch.zeros(30))[:-1], r"header promises 30 bytes for shape \[30\], the file has only 29"),
        (_idx_bytes(torch.zeros(30)) + b"!", "the file has more"),
        (_idx_bytes(torch.zeros(0)), "holds no elements"),
        (gzip.compress(_idx_bytes(torch.zeros(30)), mtime=0)[:-12], "damaged or truncated gzip"),
        (gzip.compress(_idx_bytes(torch.zeros(30)), mtime=0)[:20] + b"\xff" * 20, "damaged or truncated gzip"),
    ],
)
def test_a_damaged_file_is_named_with_what_was_expected(tmp_path: Path, damaged: bytes, message: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_idx(_config(tmp_path / "nowhere"))


def test_a_missing_file_is_named_with_the_names_looked_for(folder: Path) -> None:
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match=r"has none of t10k-images-idx3-ubyte, t10k-images-idx3-ubyte\.gz"):
        load_idx(_config(folder))


def test_labels_must_be_as_many_as_images(folder: Path) -> None:
    _write(folder / "train-labels-idx1-ubyte", torch.zeros(29))
    with pytest.raises(DataError, match=r"has shape \[29\]; expected \[30\]"):
        load_idx(_config(folder))


def test_images_must_have_three_dimensions(folder: Path) -> None:
    _write(folder / "t10k-images-idx3-ubyte", torch.zeros(9, 24))
    with pytest.raises(DataError, match=r"has shape \[9, 24\]; expected \[count, height, width\]"):
        load_idx(_config(folder))


def test_test_images_must_have_the_size_of_training_images(folder: Path) -> None:
    _write(folder / "t10k-images-idx3-ubyte", torch.zeros(9, 6, 4))
    with pytest.raises(DataError, match="expected the same"):
        load_idx(_config(folder))


def test_a_label_that_was_never_trained_is_refused(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    _write(folder / "t10k-labels-idx1-ubyte", torch.full((9,), 7))
    with pytest.raises(DataError, match="test labels go up to 7, training labels to 2"):
        load_idx(_config(folder))
