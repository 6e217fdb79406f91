"""The worst samples: which they are, and their pictures."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainer.output.worst import Verdict, read_worst, thumbnail, worst_positions, write_worst


def _verdict(name: str, loss: float) -> Verdict:
    return Verdict(name=name, label="ant", predicted="bee", confidence=0.75, loss=loss)


def test_the_highest_losses_come_first_and_equal_ones_in_their_order() -> None:
    losses = torch.tensor([0.5, 3.0, 0.5, 7.0, 0.5], dtype=torch.float64)
    assert worst_positions(losses, 4).tolist() == [3, 1, 0, 2]
    assert worst_positions(losses, 24).tolist() == [3, 1, 0, 2, 4]
    assert worst_positions(losses[:0]).tolist() == []


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [
        ((1, 8, 8), (96, 96), "L"),
        ((3, 32, 32), (96, 96), "RGB"),
        ((1, 28, 20), (60, 84), "L"),
        ((3, 224, 448), (96, 48), "RGB"),
        ((1, 95, 95), (95, 95), "L"),
        ((2, 10, 10), (90, 90), "L"),
        ((5, 300, 300), (96, 96), "L"),
    ],
)
def test_thumbnails_fit_into_96_pixels(shape: tuple[int, int, int], size: tuple[int, int], mode: str) -> None:
    picture = thumbnail(torch.full(shape, 128, dtype=torch.uint8))
    assert (picture.size, picture.mode) == (size, mode)
    assert picture.getextrema() in ((128, 128), ((128, 128),) * 3)


def test_small_images_keep_each_pixel_and_its_colour() -> None:
    pixels = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    picture = thumbnail(pixels)
    for row, column in ((0, 0), (3, 5), (7, 7)):
        corner = picture.getpixel((column * 12, row * 12))
        assert corner == picture.getpixel((column * 12 + 11, row * 12 + 11)) == tuple(pixels[:, row, column].tolist())


def test_pictures_and_what_was_said_of_them_are_written(tmp_path: Path) -> None:
    write_worst(
        tmp_path, torch.zeros(3, 1, 8, 8, dtype=torch.uint8), [_verdict(f"{at}.png", 3.0 - at) for at in range(3)]
    )
    write_worst(tmp_path, torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [_verdict("ä/1.png", 9.0), _verdict("2", 1.0)])
    assert sorted(path.name for path in (tmp_path / "predictions" / "worst").iterdir()) == ["00.png", "01.png"]
    first = json.loads((tmp_path / "predictions" / "worst.json").read_text())[0]
    assert first == {
        "image": "predictions/worst/00.png",
        "width": 96,
        "height": 96,
        "name": "ä/1.png",
        "label": "ant",
        "predicted": "bee",
        "confidence": 0.75,
        "loss": 9.0,
    }
    with Image.open(tmp_path / first["image"]) as picture:
        assert picture.size == (96, 96)


def test_an_infinite_loss_is_written_as_a_large_one(tmp_path: Path) -> None:
    write_worst(tmp_path, torch.zeros(1, 1, 8, 8, dtype=torch.uint8), [_verdict("a", float("inf"))])
    assert json.loads((tmp_path / "predictions" / "worst.json").read_text())[0]["loss"] > 700


def test_the_worst_of_all_folds_are_found(tmp_path: Path) -> None:
    assert read_worst(tmp_path) == []
    image = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    for fold, losses in enumerate(((1.0, 0.5), (9.0, 0.1))):
        write_worst(tmp_path / "folds" / str(fold), image, [_verdict(f"{fold}", loss) for loss in losses])
    rows = read_worst(tmp_path, count=3)
    assert [(row["name"], row["loss"]) for row in rows] == [("1", 9.0), ("0", 1.0), ("0", 0.5)]
    assert all(row["image"].is_file() for row in rows)


def test_a_sample_whose_picture_is_gone_is_left_out(tmp_path: Path) -> None:
    write_worst(tmp_path, torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [_verdict("a", 2.0), _verdict("b", 1.0)])
    (tmp_path / "predictions" / "worst" / "00.png").unlink()
    assert [row["name"] for row in read_worst(tmp_path)] == ["b"]
