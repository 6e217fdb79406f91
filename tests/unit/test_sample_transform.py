"""A transform of one's own: what it draws depends on (seed, epoch, sample) alone."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.own_code import own_imports, write_modules
from trainer.config.imports import ImportedTransform
from trainer.data.transform import SampleTransform
from trainer.exits import ConfigError
from trainer.own_code.imports import allow_imports

TRANSFORMS = """
    import random

    import numpy as np
    import torch

    class Noise:
        def __init__(self, strength: int = 99):
            self.strength = strength

        def __call__(self, image):
            image[0, 0, 0] = int(torch.randint(self.strength, ()))
            image[0, 0, 1] = random.randrange(self.strength)
            image[0, 0, 2] = np.random.randint(self.strength)
            return image

    def to_float():
        return lambda image: image / 255

    def smaller():
        return lambda image: image[:, 1:]

    def nothing():
        return lambda image: None
"""
IMAGES = torch.zeros(6, 1, 3, 4, dtype=torch.uint8)
IDS = torch.tensor([5, 2, 900, 7, 8, 0])

Build = Callable[..., SampleTransform]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Builds `unit_transform:NAME`, or another import path."""
    with own_imports():
        allow_imports(write_modules(tmp_path, unit_transform=TRANSFORMS))

        def call(path: str, *, seed: int = 3, **args: Any) -> SampleTransform:
            path = path if ":" in path else f"unit_transform:{path}"
            return SampleTransform(ImportedTransform.model_validate({"import": path, "args": args}), seed)

        yield call


def drawn(transform: SampleTransform, epoch: int = 0, order: Tensor | None = None) -> Tensor:
    order = torch.arange(6) if order is None else order
    return transform(IMAGES[order].clone(), epoch, IDS[order])[:, 0, 0, :3]


def test_a_sample_is_varied_alike_in_every_batch(build: Build) -> None:
    whole = drawn(build("Noise"))
    order = torch.tensor([3, 0, 5])
    assert torch.equal(drawn(build("Noise"), order=order), whole[order])
    assert len({tuple(row) for row in whole.tolist()}) == 6


@pytest.mark.parametrize("column", [0, 1, 2], ids=["torch", "random", "numpy"])
def test_other_epochs_and_seeds_draw_otherwise(build: Build, column: int) -> None:
    base = drawn(build("Noise"))[:, column]
    assert not torch.equal(base, drawn(build("Noise"), epoch=1)[:, column])
    assert not torch.equal(base, drawn(build("Noise", seed=4))[:, column])


def test_nobody_elses_random_numbers_change(build: Build) -> None:
    def next_numbers() -> tuple[float, float, float]:
        return float(torch.rand(())), random.random(), float(np.random.rand())

    def seed() -> None:
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)

    seed()
    undisturbed = next_numbers()
    seed()
    drawn(build("Noise"))
    assert next_numbers() == undisturbed


def test_transforms_of_torchvision_work(build: Build) -> None:
    images = torch.arange(6 * 12, dtype=torch.uint8).view(6, 1, 3, 4)
    flipped = build("torchvision.transforms.v2:RandomHorizontalFlip", p=1.0)(images, 0, IDS)
    assert torch.equal(flipped, images.flip(3))


@pytest.mark.parametrize(
    ("name", "found"),
    [("to_float", "float32 [1, 3, 4]"), ("smaller", "uint8 [1, 2, 4]"), ("nothing", "a value of type NoneType")],
)
def test_another_type_or_shape_is_refused(build: Build, name: str, found: str) -> None:
    transform = build(name)
    with pytest.raises(ConfigError) as caught:
        transform(IMAGES.clone(), 0, IDS)
    assert f"unit_transform:{name} gave {found} for an image uint8 [1, 3, 4]" in str(caught.value)


def test_an_unknown_argument_is_refused(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"train\.data\.transform\.args\.sterngth: Noise takes no such argument"):
        build("Noise", sterngth=3)
