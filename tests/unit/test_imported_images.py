"""A data set of one's own, read as pixels and labels on one rank and on several."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.own_code import own_imports, write_modules
from trainer.config.data import ImportedImages
from trainer.data import imported
from trainer.data.decode import channels_first, decode_image
from trainer.data.folds import pool
from trainer.data.images import ImageSplits
from trainer.data.load import load_images
from trainer.data.pixels import as_pixels, central_square
from trainer.exits import ConfigError, DataError
from trainer.own_code.imports import allow_imports

DATA = """
    import numpy as np
    import torch
    from PIL import Image

    class Blobs:
        def __init__(self, count: int = 40, train: bool = True, classes: int = 4, side: int = 5, offset: int = 0):
            self.count, self.train, self.kinds, self.side, self.offset = count, train, classes, side, offset
            self.noise = torch.randint(0, 9, (count,))

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            image = torch.full((3, self.side, self.side), index, dtype=torch.uint8)
            image[0, 0, 0] = self.noise[index]
            image[0, 0, 1] = 200 if self.train else 100
            return image, index % self.kinds + self.offset

    class Named(Blobs):
        classes = ["a", "b", "c", "d", "e"]

    class Bad(Blobs):
        def __init__(self, what, at: int = 7):
            super().__init__()
            self.what, self.at = what, at

        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            if index != self.at:
                return image, label
            if self.what == "raises":
                raise OSError("truncated")
            return {
                "float": (image / 255, label),
                "channels last": (image.permute(1, 2, 0), label),
                "text": ("x.png", label),
                "larger": (torch.zeros(3, 6, 5, dtype=torch.uint8), label),
                "flat": (image.flatten(), label),
                "alone": image,
                "float label": (image, 1.0),
                "negative": (image, -1),
                "one-hot": (image, torch.eye(4)[0]),
                "truth": (image, True),
            }[self.what]

    class Chance(Blobs):
        def __getitem__(self, index):
            return torch.randint(0, 256, (1, 4, 4), dtype=torch.uint8), index % 2

    class Sizes(Blobs):
        def __getitem__(self, index):
            return Image.fromarray(np.full((8, 8 + index), 3 * index, dtype=np.uint8)), np.int64(index % 4)

    def stream():
        return iter(())
"""

Load = Callable[..., ImageSplits]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads `unit_data:NAME`."""
    with own_imports():
        allow_imports(write_modules(tmp_path, unit_data=DATA))

        def call(name: str, ranks: int = 1, **fields: Any) -> ImageSplits:
            path = name if ":" in name else f"unit_data:{name}"
            config = ImportedImages.model_validate({"kind": "import", "import": path, **fields})
            return load_on(ranks, config)[-1]

        yield call


def load_on(ranks: int, config: ImportedImages) -> list[ImageSplits]:
    """Load as the ranks of one node do, each a thread here."""
    if ranks == 1:
        return [load_images(config)]
    barrier = threading.Barrier(ranks)
    loaded: list[ImageSplits | None] = [None] * ranks
    turn = threading.Lock()  # the global generators are a process's, and ranks are processes

    def wait() -> None:
        turn.release()
        barrier.wait(30)
        turn.acquire()

    def run(rank: int) -> None:
        with turn:
            loaded[rank] = load_images(config, local_rank=rank, local_ranks=ranks, barrier=wait)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [splits for splits in loaded if splits is not None]


def everything(splits: ImageSplits) -> tuple[Tensor, Tensor]:
    """All images and labels in the order of the data set, where the test split was drawn."""
    sets = [one for one in (splits.train, splits.validation, splits.test) if one is not None]
    order = torch.cat([one.indices for one in sets]).argsort()
    return splits.train.images.batch(torch.arange(len(order))), torch.cat([one.labels for one in sets])[order]


def test_every_sample_is_read_once_and_split_class_by_class(load: Load) -> None:
    splits = load("Blobs", test_fraction=0.2, validation_fraction=0.25)
    images, labels = everything(splits)
    assert images[:, 1, 2, 2].tolist() == list(range(40))
    assert labels.tolist() == [index % 4 for index in range(40)]
    assert splits.counts() == {
        name: dict.fromkeys("0123", count) for name, count in (("train", 6), ("validation", 2), ("test", 2))
    }
    assert splits.test_is_drawn
    pixels = splits.train.images.batch(splits.train.indices).double() / 255
    assert splits.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist())


def test_test_arguments_make_a_test_set_of_its_own(load: Load) -> None:
    splits = load("Blobs", args={"count": 40}, test_args={"train": False, "count": 8})
    assert (len(splits.train), len(splits.test), splits.test_is_drawn) == (40, 8, False)
    assert set(splits.test.images.batch(splits.test.indices)[:, 0, 0, 1].tolist()) == {100}
    with pytest.raises(DataError, match=r"training images are \[3, 5, 5\], test images \[3, 6, 6\]"):
        load("Blobs", test_args={"side": 6})


def test_folds_take_a_test_split_that_was_drawn_and_leave_one_that_was_given(load: Load) -> None:
    assert pool(load("Blobs")).train.indices.tolist() == list(range(40))
    given = pool(load("Blobs", test_args={"train": False, "count": 8}))
    assert (len(given.train), len(given.test)) == (40, 8)


def test_ranks_of_a_node_read_their_shares_and_see_the_same(load: Load) -> None:
    alone, shared = load("Blobs"), load("Blobs", ranks=3)
    for ours, theirs in zip(everything(shared), everything(alone), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(shared.train.indices, alone.train.indices)


def test_what_a_data_set_makes_up_is_the_same_each_time_and_follows_the_seed_of_the_splits(load: Load) -> None:
    first, again, other = load("Blobs"), load("Blobs"), load("Blobs", split_seed=1)
    assert torch.equal(everything(first)[0], everything(again)[0])
    assert not torch.equal(everything(first)[0], everything(other)[0])


def test_names_of_classes_are_the_data_sets_own(load: Load) -> None:
    assert load("Named").classes == ("a", "b", "c", "d", "e")
    with pytest.raises(DataError, match="has label 5, and there are 5 classes"):
        load("Named", args={"offset": 2})


def test_labels_that_do_not_begin_at_0_are_refused(load: Load) -> None:
    with pytest.raises(DataError, match=r"labels of unit_data:Blobs go from 0 to 4, and no training sample has 0"):
        load("Blobs", args={"offset": 1})


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("raises", "OSError: truncated ("),
        ("float", "the image is float32; expected uint8, 0 to 255, which the trainer normalises by itself"),
        ("channels last", "the image has shape [5, 5, 3], channels last; expected [C, H, W]"),
        ("text", "the image is of type str; expected a PIL image, tensor or array"),
        ("larger", "the image is [3, 6, 5], the first [3, 5, 5]; train.data.image_size makes them equal"),
        ("flat", "the image has shape [75]; expected [C, H, W] or [H, W]"),
        ("alone", "is a Tensor; expected a pair (image, label)"),
        ("float label", "the label is 1.0; expected a whole number"),
        ("negative", "the label is -1; expected a whole number from 0"),
        ("one-hot", "the label is tensor([1., 0., 0., 0.]); expected a whole number"),
        ("truth", "the label is True; expected a whole number"),
    ],
)
def test_a_bad_sample_is_named_by_its_index(load: Load, what: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        load("Bad", args={"what": what})
    assert str(caught.value).startswith(f"train.data: sample 7 of unit_data:Bad: {reason}")


def test_a_data_set_that_varies_its_samples_is_warned_of(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    load("Blobs")
    assert not caplog.text
    splits = load("Chance")
    assert "what should vary in training belongs into train.data.transform" in caplog.text
    assert torch.equal(everything(splits)[0], everything(load("Chance", ranks=2))[0])


def test_images_of_different_sizes_are_cut_and_scaled_as_those_of_a_folder(load: Load, tmp_path: Path) -> None:
    splits = load("Sizes", image_size=6)
    images, _ = everything(splits)
    assert images.shape == (40, 1, 6, 6)
    assert images[:, 0, 3, 3].tolist() == [3 * index for index in range(40)]
    random = np.random.default_rng(0)
    for shape in ((9, 14, 3), (14, 9, 3), (4, 4, 3)):
        picture = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        picture.save(tmp_path / "picture.png")
        of_a_folder = channels_first(decode_image((tmp_path / "picture.png").read_bytes(), 6))
        assert torch.equal(central_square(as_pixels(picture), 6), torch.from_numpy(of_a_folder.copy()))


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (Image.new("L", (4, 3)), [1, 3, 4]),
        (Image.new("1", (4, 3)), [1, 3, 4]),
        (Image.new("I;16", (4, 3)), [1, 3, 4]),
        (Image.new("P", (4, 3)), [3, 3, 4]),
        (Image.new("RGBA", (4, 3)), [3, 3, 4]),
        (np.zeros((3, 4), dtype=np.uint8), [1, 3, 4]),
        (np.zeros((3, 4, 3), dtype=np.uint8).transpose(2, 0, 1), [3, 3, 4]),
        (torch.zeros(2, 3, 4, dtype=torch.uint8), [2, 3, 4]),
    ],
)
def test_images_come_in_many_forms(image: Any, shape: list[int]) -> None:
    pixels = as_pixels(image)
    assert (list(pixels.shape), pixels.dtype) == (shape, torch.uint8)


def test_what_does_not_fit_memory_is_read_for_each_batch(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = load("Blobs")
    monkeypatch.setattr(imported, "CACHE_BYTES", 100)
    on_demand = load("Blobs", ranks=2)
    assert type(on_demand.train.images) is not type(in_memory.train.images)
    for ours, theirs in zip(everything(on_demand), everything(in_memory), strict=True):
        assert torch.equal(ours, theirs)
    assert on_demand.mean == in_memory.mean


def test_a_data_set_of_torchvision_works_as_it_is(load: Load) -> None:
    splits = load(
        "torchvision.datasets:FakeData", args={"size": 30, "num_classes": 3, "image_size": [3, 10, 12]}, image_size=8
    )
    assert splits.train.images.shape == (3, 8, 8)
    assert splits.classes == ("0", "1", "2")


def test_a_stream_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match="without a length; expected a map-style torch Dataset"):
        load("stream")


def test_unknown_test_arguments_are_named_as_such(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"train\.data\.test_args\.trian: Blobs takes no such argument"):
        load("Blobs", test_args={"trian": False})


def test_an_empty_data_set_is_refused(load: Load) -> None:
    with pytest.raises(DataError, match="unit_data:Blobs has no samples"):
        load("Blobs", args={"count": 0})
