"""Splits that keep the share of every class, decided by a seed of their own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.config.data import ImageData
from trainer.data.images import ImageSet
from trainer.exits import DataError
from trainer.runtime.determinism import derive_seed


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


def thin(train: ImageSet, config: ImageData, classes: Sequence[str]) -> ImageSet:
    """Leave out training samples as ``samples_per_class`` and ``class_shares`` say; see ``thinned``."""
    return train.select(thinned(train.labels, config, classes)) if is_thinned(config) else train


def is_thinned(config: ImageData) -> bool:
    """Whether ``config`` leaves out any training samples."""
    return config.samples_per_class is not None or bool(config.class_shares)


def thinned(labels: Tensor, config: ImageData, classes: Sequence[str]) -> Tensor:
    """Positions of the training samples that stay, ascending int64; a function of ``labels`` and ``config`` alone.

    ``samples_per_class`` is applied first, ``class_shares`` to what it leaves; a share keeps at least one sample. Each
    class has a random order of its own, by ``split_seed``, of which the first samples stay: so a larger number or share
    keeps those of a smaller one, and a class keeps its samples whatever is asked of the others.

    Args:
        labels: Class of each training sample, int64 [N].
        config: How many samples stay.
        classes: Names of the classes in label order.

    Raises:
        DataError: A class has fewer than ``samples_per_class`` samples, or ``class_shares`` names an unknown class.
    """
    for name in config.class_shares:
        if name not in classes:
            raise DataError(f"train.data.class_shares: unknown class {name!r} (allowed {', '.join(classes)})")
    kept = []
    for label, name in enumerate(classes):
        positions = (labels == label).nonzero().flatten()
        generator = torch.Generator().manual_seed(derive_seed("thin", config.split_seed, label))
        order = torch.randperm(len(positions), generator=generator)
        kept.append(positions[order[: _count_kept(len(positions), config, name)]])
    return torch.cat(kept).sort().values


def _count_kept(count: int, config: ImageData, name: str) -> int:
    """How many of the ``count`` training samples of class ``name`` stay."""
    if config.samples_per_class is not None:
        if count < config.samples_per_class:
            raise DataError(
                f"train.data.samples_per_class: class {name!r} has {count} training samples; "
                f"expected at least {config.samples_per_class}"
            )
        count = config.samples_per_class
    return max(1, round(count * config.class_shares.get(name, 1.0)))
