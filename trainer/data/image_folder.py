"""A folder a class, of JPEG, PNG and other image files."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.config.data import ImageFolder
from trainer.data.decode import SUFFIXES, UndecodableImage, decode_image
from trainer.data.decode_together import Decoded, Outcome, decode_together
from trainer.data.images import ImageSet, ImageSplits, PackedStrings
from trainer.data.node import Node
from trainer.data.splits import is_thinned, stratified_split, thinned
from trainer.data.statistics import mean_and_std
from trainer.exits import DataError

DEFAULT_IMAGE_SIZE = 224


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files below a root, in an order that depends on their names alone."""

    root: Path
    classes: tuple[str, ...]
    """Names of the class folders, sorted."""
    files: PackedStrings
    """Paths relative to ``root``; a file's place here is its sample id."""
    labels: Tensor
    """Class of each file, int64 [N]."""
    splits: dict[str, Tensor]
    """Sample ids of ``train`` and, where they have folders of their own, of ``validation`` and ``test``; int64."""


def load_image_folder(config: ImageFolder, node: Node) -> ImageSplits:
    """List, split and decode the images below ``config.path``.

    With ``train/`` beside it, ``test/`` is the test split; ``val/`` is too where there is no ``test/``, and the
    validation split otherwise. Splits are drawn before anything is decoded, so a damaged file moves no other. Files
    that thinning leaves out are not read at all.

    Raises:
        DataError: A folder is missing, a class has no image or too few, or more files are unreadable than ``config``
            allows.
    """
    listing = list_images(Path(config.path))
    test_is_drawn = "test" not in listing.splits
    splits = _assign(config, listing)
    if is_thinned(config):
        listing = _only_used(listing, splits)
        splits = listing.splits
    counted = torch.zeros(len(listing.files), dtype=torch.bool)
    counted[splits["train"]] = True
    decoded = decode_together(listing.root, listing.files, counted, config.image_size or DEFAULT_IMAGE_SIZE, node)
    skipped = _unusable(config, listing, decoded)
    sets = {name: _without(listing, decoded, ids) for name, ids in splits.items()}
    _check_every_class(listing, sets["train"])
    mean, std = mean_and_std(decoded.histogram)
    return ImageSplits(
        sets["train"],
        sets.get("validation"),
        sets["test"],
        listing.classes,
        mean,
        std,
        tuple(skipped),
        test_is_drawn,
    )


def list_images(root: Path) -> Listing:
    """Find the image files of each class.

    Raises:
        DataError: There is no such folder, it has no class folders, or a class has no images.
    """
    folders = _split_folders(root)
    classes = tuple(_class_names(folders["train"]))
    if not classes:
        raise DataError(f"{folders['train']}: has no class folders; expected <class>/*.jpg below it")
    files: list[str] = []
    labels: list[int] = []
    splits = {}
    for name, folder in folders.items():
        if unknown := sorted(set(_class_names(folder)) - set(classes)):
            raise DataError(f"{folder}: classes {', '.join(unknown)} do not occur in {folders['train']}")
        start = len(files)
        for label, class_name in enumerate(classes):
            found = _image_files(folder / class_name, root)
            if not found and name == "train":
                raise DataError(f"{folder / class_name}: has no images; expected {', '.join(sorted(SUFFIXES))}")
            files += found
            labels += [label] * len(found)
        if len(files) == start:
            raise DataError(f"{folder}: has no images; expected <class>/*.jpg below it")
        splits[name] = torch.arange(start, len(files))
    return Listing(root, classes, PackedStrings(files), torch.tensor(labels), splits)


def _split_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected train/<class>/*.jpg or <class>/*.jpg below it")
    if not (root / "train").is_dir():
        return {"train": root}
    folders = {"train": root / "train", "validation": root / "val", "test": root / "test"}
    if not folders["test"].is_dir():
        folders["test"] = folders.pop("validation")
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def _class_names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error


def _image_files(folder: Path, root: Path) -> list[str]:
    """Images anywhere below ``folder``, sorted, relative to ``root``; hidden files are left out."""
    return sorted(
        os.path.relpath(os.path.join(where, name), root)
        for where, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
    )


def _assign(config: ImageFolder, listing: Listing) -> dict[str, Tensor]:
    """Sample ids of each split, drawing those that have no folder of their own and thinning the training split."""
    splits = dict(listing.splits)
    if config.validation_fraction and "validation" in splits:
        raise DataError(f"{listing.root}: has val/ already; expected train.data.validation_fraction: 0")
    for name, fraction in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        if name not in splits and fraction:
            train = splits["train"]
            kept, held_out = stratified_split(listing.labels[train], fraction, config.split_seed)
            splits["train"], splits[name] = train[kept], train[held_out]
    if is_thinned(config):
        train = splits["train"]
        splits["train"] = train[thinned(listing.labels[train], config, listing.classes)]
    return splits


def _only_used(listing: Listing, splits: dict[str, Tensor]) -> Listing:
    """The listing of the files of ``splits`` alone, in their old order; a file's place, and so its id, is a new one."""
    used = torch.cat(list(splits.values())).sort().values
    files = PackedStrings([listing.files[index] for index in used.tolist()])
    ids = {name: torch.searchsorted(used, old) for name, old in splits.items()}
    return Listing(listing.root, listing.classes, files, listing.labels[used], ids)


def _unusable(config: ImageFolder, listing: Listing, decoded: Decoded) -> list[str]:
    """Files to leave out; raises where ``config`` does not allow that, on all ranks alike."""
    if failed := _files_with(Outcome.UNREADABLE, listing, decoded):
        raise DataError(f"{listing.root / failed[0]}: the storage failed to deliver it{_and_others(failed)}")
    damaged = _files_with(Outcome.UNDECODABLE, listing, decoded)
    if damaged and config.on_corrupt == "error":
        path = listing.root / damaged[0]
        raise DataError(
            f"{path}: not a readable image ({_reason(path)}){_and_others(damaged)}; "
            "repair or remove it, or set train.data.on_corrupt: skip"
        )
    if len(damaged) > config.max_corrupt_fraction * len(listing.files):
        raise DataError(
            f"{listing.root}: {len(damaged)} of {len(listing.files)} images are unreadable, the first {damaged[0]}; "
            f"expected at most train.data.max_corrupt_fraction = {config.max_corrupt_fraction:g} of them"
        )
    return damaged


def _files_with(outcome: Outcome, listing: Listing, decoded: Decoded) -> list[str]:
    return [listing.files[index] for index in (decoded.outcomes == outcome).nonzero().flatten().tolist()]


def _and_others(files: list[str]) -> str:
    return f" and {len(files) - 1} more" if len(files) > 1 else ""


def _reason(path: Path) -> str:
    """Why ``path`` cannot be decoded; another rank may have met it, so it is asked again."""
    try:
        decode_image(path.read_bytes(), DEFAULT_IMAGE_SIZE)
    except (OSError, UndecodableImage) as error:
        return str(error)
    return "unreadable at first"


def _without(listing: Listing, decoded: Decoded, ids: Tensor) -> ImageSet:
    usable = ids[decoded.outcomes[ids] == Outcome.GOOD]
    return ImageSet(decoded.images, usable, listing.labels[usable], listing.files)


def _check_every_class(listing: Listing, train: ImageSet) -> None:
    counts = torch.bincount(train.labels, minlength=len(listing.classes))
    if (counts == 0).any():
        raise DataError(f"{listing.root}: class {listing.classes[int(counts.argmin())]} has no readable training image")
