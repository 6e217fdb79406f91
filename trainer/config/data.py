"""Where samples come from, how they are split, and how training images are varied."""

from typing import Annotated, Any, Literal

from pydantic import Field

from trainer.config.base import Config
from trainer.config.imports import Imported, ImportedTransform

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Augment(Config):
    """Random variation of training images; each image's draw depends on (seed, epoch, sample) alone."""

    mirror: bool = False
    """Flip half of the images left to right."""
    pad_crop: Annotated[int, Field(ge=0, le=64)] = 0
    """Pad by this many pixels on each side, then crop back to the original size at a random place (pixels)."""


class DataSet(Config):
    """What every data set has in common."""

    validation_fraction: Fraction = 0.0
    """Share of the training samples held out to choose the best checkpoint (0 = none); class by class for images."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the splits; kept apart from `seed` so that repeats train on the same samples."""


class ImageData(DataSet):
    """What every image data set has in common."""

    samples_per_class: Annotated[int, Field(ge=1)] | None = None
    """Train on so many samples of each class only, drawn by `split_seed`, before `class_shares`. Default: on all."""
    class_shares: dict[str, Annotated[float, Field(gt=0.0, le=1.0)]] = Field({})
    """Keep only this share of a class's training samples, drawn by `split_seed`, such as {"8": 0.05}."""
    normalization: Literal["data", "imagenet"] = "data"
    """Mean and deviation of the channels: of the training samples, or those that ImageNet weights were trained with,
    which make three channels of grey."""
    image_size: Annotated[int, Field(ge=4, le=2048)] | None = None
    """Side of the square images given to the model (pixels). Default: as stored; 224 for image-folder."""
    transform: ImportedTransform | None = None
    """A variation of training images of your own, before that of `augment`. Its random numbers (of torch, random and
    numpy.random) depend on (seed, epoch, sample) alone."""
    augment: Augment = Augment()
    """Random variation of training images."""


class Digits(ImageData):
    """The 1,797 grey 8x8 digits that scikit-learn carries: real data without a download."""

    kind: Literal["digits"]
    """Selects this data set."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of all samples kept for the test, class by class."""


class Idx(ImageData):
    """A folder of IDX files (the MNIST format), gzipped or not: train-images-idx3-ubyte, t10k-labels-idx1-ubyte, ..."""

    kind: Literal["idx"]
    """Selects this data set."""
    path: Annotated[str, Field(min_length=1)]
    """Folder of the four files, as the pod sees it."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in label order. Default: the labels themselves."""


class ImageFolder(ImageData):
    """A folder a class: path/train/<class>/*.jpg and path/test/<class>/*.jpg, or path/<class>/* to be split."""

    kind: Literal["image-folder"]
    """Selects this data set."""
    path: Annotated[str, Field(min_length=1)]
    """Root folder, as the pod sees it."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share kept for the test, class by class, where the folder has no test/ or val/ of its own."""
    on_corrupt: Literal["error", "skip"] = "error"
    """What an unreadable image does: end the job (exit 3), or be left out and counted in summary.json."""
    max_corrupt_fraction: Fraction = 0.01
    """With `skip`: the job still ends when more than this share is unreadable."""


class ImportedImages(Imported, ImageData):
    """A data set of your own: a class or function that gives a map-style torch Dataset with samples (image, label).

    An image is a PIL image, or uint8 [C, H, W] or [H, W] as tensor or array; all of the same shape, or of any with
    `image_size`, which then cuts out the central square and scales it. A label is a whole number from 0, and names the
    class in the data set's `classes`, if it has them. Every sample is read once, at the start.
    """

    kind: Literal["import"]
    """Selects this data set."""
    test_args: dict[str, Any] | None = None
    """What is different in `args` for the test samples, such as {train: false}. Default: `test_fraction` of the samples
    is kept for the test."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the samples kept for the test, class by class, without `test_args`."""


Images = Annotated[Digits | Idx | ImageFolder | ImportedImages, Field(discriminator="kind")]


class Pairs(DataSet):
    """A TSV file of two columns, source and target, such as words and their pronunciations; UTF-8, one pair a line."""

    kind: Literal["pairs"]
    """Selects this data set."""
    path: Annotated[str, Field(min_length=1)]
    """The file, as the pod sees it. Lines that are empty or start with `#` are left out."""
    test_path: Annotated[str, Field(min_length=1)] | None = None
    """A file of pairs kept for the test. Default: `test_fraction` of `path`."""
    source_tokens: Literal["characters", "words"] = "characters"
    """What a token of the source is: a character, or what stands between white space."""
    target_tokens: Literal["characters", "words"] = "words"
    """What a token of the target is."""
    lowercase: bool = False
    """Read the source in lower case."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Share of the pairs kept for the test, without a `test_path`; a hash of `split_seed` and the source decides."""
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 64
    """Pairs with a longer source or target are an error (tokens)."""
