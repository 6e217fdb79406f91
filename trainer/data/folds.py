"""Stratified k-fold cross-validation over images: which sample is tested in which fold."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.config.data import ImageData
from trainer.data.images import ImageSplits
from trainer.data.splits import carve_validation, thin
from trainer.data.statistics import mean_and_std, pixel_histogram
from trainer.exits import DataError

WHOLE: dict[str, Any] = {"validation_fraction": 0.0, "samples_per_class": None, "class_shares": {}}
"""What to set in the configuration of a data set so that no training sample is held out or left out of the folds."""


def pool(splits: ImageSplits) -> ImageSplits:
    """``splits`` with everything that folds may be made of in its training split, in the order of the source.

    A drawn test split goes back to the training samples. Test files of the data set's own do not: who compares models
    by their folds wants to say afterwards how the chosen one does on samples that decided nothing.
    """
    if not splits.test_is_drawn:
        return splits
    indices, order = torch.cat([splits.train.indices, splits.test.indices]).sort()
    labels = torch.cat([splits.train.labels, splits.test.labels])[order]
    return replace(splits, train=replace(splits.train, indices=indices, labels=labels))


def fold_of_each(labels: Tensor, folds: int, seed: int) -> Tensor:
    """The fold, 0 to ``folds`` - 1, that tests each sample of ``labels`` (int64 [N]); int64 [N].

    scikit-learn's ``StratifiedKFold(folds, shuffle=True, random_state=seed)``, so that anybody can draw them again.

    Raises:
        DataError: A class has fewer samples than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold  # 0.8 s to import: only where it is used

    counts = torch.bincount(labels)
    if (scarce := int(counts[counts > 0].min())) < folds:
        raise DataError(
            f"train.validation.folds: a class has {scarce} samples; expected at least {folds}, one for each fold"
        )
    fold_of = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
    for fold, (_, tested) in enumerate(splitter.split(np.zeros(len(labels)), labels.numpy())):
        fold_of[tested] = fold
    return torch.from_numpy(fold_of)


def fold_splits(pooled: ImageSplits, fold_of: Tensor, fold: int, config: ImageData) -> ImageSplits:
    """The splits of one fold: its samples for the test, the others for training, as ``config`` thins and shares them.

    Args:
        pooled: From ``pool``.
        fold_of: From ``fold_of_each`` of its training split.
        fold: Which fold, from 0.
        config: Data set.

    Raises:
        DataError: What is left to train on cannot be split or thinned as ``config`` says.
    """
    rest = pooled.train.select((fold_of != fold).nonzero().flatten())
    train, validation = carve_validation(rest, config)
    train = thin(train, config, pooled.classes)
    mean, std = pooled.mean, pooled.std
    if config.normalization == "data":
        mean, std = mean_and_std(pixel_histogram(train))
    return replace(
        pooled,
        train=train,
        validation=validation or pooled.validation,
        test=pooled.train.select((fold_of == fold).nonzero().flatten()),
        mean=mean,
        std=std,
    )
