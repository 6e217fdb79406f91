"""Splits that keep the share of every class, decided by a seed of their own."""

import torch
from torch import Tensor

from trainer.config.data import ImageData
from trainer.data.images import ImageSet
from trainer.exits import DataError


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the positions of ``labels`` (int64 [N]) into kept and held out, class by class.

    Returns:
        Two ascending int64 tensors; the second holds ``fraction`` of the samples.

    Raises:
        DataError: There are too few samples for every class to be on both sides.
    """
    from sklearn.model_selection import train_test_split  # 0.8 s to import, and many runs split nothing

    try:
        kept, held_out = train_test_split(
            torch.arange(len(labels)).numpy(), test_size=fraction, random_state=seed % 2**32, stratify=labels.numpy()
        )
    except ValueError as error:
        raise DataError(f"cannot hold out {fraction:g} of {len(labels)} samples class by class: {error}") from error
    return torch.from_numpy(kept).sort().values, torch.from_numpy(held_out).sort().values


def carve_validation(train: ImageSet, config: ImageData) -> tuple[ImageSet, ImageSet | None]:
    """Hold out ``validation_fraction`` of ``train``; nothing where it is 0."""
    if config.validation_fraction == 0:
        return train, None
    kept, held_out = stratified_split(train.labels, config.validation_fraction, config.split_seed)
    return train.select(kept), train.select(held_out)
