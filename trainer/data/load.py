"""One function that reads any data set, by a plain dict from the kind of its config."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trainer.config.data import Digits, Idx, ImageFolder, Images, ImportedImages
from trainer.data.digits import load_digits
from trainer.data.idx import load_idx
from trainer.data.image_folder import load_image_folder
from trainer.data.images import ImageSplits
from trainer.data.imported import load_imported_images
from trainer.data.node import Node
from trainer.data.statistics import IMAGENET_MEAN, IMAGENET_STD

LOADERS: dict[type, Callable[[Any, Node], ImageSplits]] = {
    Digits: lambda config, _node: load_digits(config),
    Idx: lambda config, _node: load_idx(config),
    ImageFolder: load_image_folder,
    ImportedImages: load_imported_images,
}


def load_images(
    data: Images, *, local_rank: int = 0, local_ranks: int = 1, barrier: Callable[[], None] = lambda: None
) -> ImageSplits:
    """Read ``data`` and split it; every rank of a job gets the same splits.

    With ``normalization: imagenet`` mean and std have three entries, for grey images too: ``Preprocess`` then makes
    colour of them.

    Args:
        data: What to read.
        local_rank: Place of this process among those of its node, from 0.
        local_ranks: Processes of this node; they share the work of decoding and its result.
        barrier: Returns once every process of this node (or of the job) has called it.

    Raises:
        DataError: The data is missing, unreadable, or not what the configuration says; on all ranks of the node alike.
    """
    splits = LOADERS[type(data)](data, Node(local_rank, local_ranks, barrier))
    if data.normalization == "imagenet":
        splits = replace(splits, mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD))
    return splits
