"""Folds of cross-validation as splits of a data set."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainer_runs import tiny
from trainer.config import ImageClassification
from trainer.config.data import Digits, ImageData
from trainer.config.validation import KFold
from trainer.data.folds import fold_of_each, fold_splits, pool
from trainer.data.images import ImageSet, ImageSplits, InMemoryImages
from trainer.data.splits import stratified_split
from trainer.engine.folds import metrics_of_folds
from trainer.exits import DataError
from trainer.runtime.distributed import Ranks
from trainer.tasks.image_folds import ImageFolds


def _splits(labels: Tensor, *, test_is_drawn: bool) -> ImageSplits:
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    whole = ImageSet(InMemoryImages(pixels.contiguous()), torch.arange(len(labels)), labels)
    train, test = stratified_split(labels, 0.25, seed=1)
    return ImageSplits(
        whole.select(train), None, whole.select(test), ("a", "b"), [0.5], [0.2], test_is_drawn=test_is_drawn
    )


LABELS = torch.tensor([0, 1, 1, 0, 1] * 8)


def _config(**changes: object) -> ImageData:
    return Digits.model_validate({"kind": "digits", **changes})


def test_a_drawn_test_split_goes_back_to_the_pool_in_the_order_of_the_source() -> None:
    pooled = pool(_splits(LABELS, test_is_drawn=True))
    assert pooled.train.indices.tolist() == list(range(len(LABELS)))
    assert torch.equal(pooled.train.labels, LABELS)


def test_test_files_of_their_own_stay_out_of_the_folds() -> None:
    splits = _splits(LABELS, test_is_drawn=False)
    assert torch.equal(pool(splits).train.indices, splits.train.indices)


@given(folds=st.integers(2, 8), seed=st.integers(0, 2**40), fraction=st.sampled_from([0.0, 0.2]))
def test_folds_cover_every_sample_once_and_keep_the_shares_of_the_classes(
    folds: int, seed: int, fraction: float
) -> None:
    pooled = pool(_splits(LABELS, test_is_drawn=True))
    fold_of = fold_of_each(pooled.train.labels, folds, seed)
    tested = []
    for fold in range(folds):
        parts = fold_splits(pooled, fold_of, fold, _config(validation_fraction=fraction))
        sets = [parts.train, parts.test, *([parts.validation] if parts.validation else [])]
        ids = torch.cat([part.indices for part in sets])
        assert torch.equal(ids.sort().values, torch.arange(len(LABELS)))
        assert (parts.validation is not None) == (fraction > 0)
        for label in (0, 1):
            share = int((parts.test.labels == label).sum())
            assert abs(share - LABELS.tolist().count(label) / folds) < 1
        tested += parts.test.indices.tolist()
    assert sorted(tested) == list(range(len(LABELS)))


def test_each_fold_has_the_statistics_of_what_it_trains_on() -> None:
    pooled = pool(_splits(LABELS, test_is_drawn=True))
    fold_of = fold_of_each(pooled.train.labels, 4, 0)
    parts = [fold_splits(pooled, fold_of, fold, _config()) for fold in range(4)]
    for part in parts:
        assert part.mean == pytest.approx([part.train.indices.float().mean().item() / 255])
    assert len({part.mean[0] for part in parts}) > 1
    kept = fold_splits(pooled, fold_of, 0, _config(normalization="imagenet"))
    assert kept.mean == pooled.mean


def test_training_samples_are_thinned_within_a_fold_and_test_samples_are_not() -> None:
    pooled = pool(_splits(LABELS, test_is_drawn=True))
    fold_of = fold_of_each(pooled.train.labels, 4, 0)
    part = fold_splits(pooled, fold_of, 0, _config(samples_per_class=3))
    assert torch.bincount(part.train.labels).tolist() == [3, 3]
    assert len(part.test) == len(LABELS) // 4


def test_a_class_with_fewer_samples_than_folds_is_refused() -> None:
    with pytest.raises(DataError, match=r"train\.validation\.folds: a class has 2 samples; expected at least 3"):
        fold_of_each(torch.tensor([0] * 9 + [1] * 2), 3, 0)


def test_a_metric_that_a_fold_could_not_tell_is_left_out_of_the_mean() -> None:
    folds = [{"split": "test", "accuracy": 0.5, "auc": None}, {"split": "test", "accuracy": 1.0, "auc": 0.9}]
    together = metrics_of_folds(folds)
    assert together["mean"] == {"accuracy": 0.75}
    assert together["std"] == {"accuracy": pytest.approx(0.5**0.5 / 2)}
    assert together["metrics"][1] == {"fold": 1, "accuracy": 1.0, "auc": 0.9}


def test_folds_on_disk_that_were_made_of_other_samples_are_refused(tmp_path: Path) -> None:
    alone = Ranks(0, 1, 0, 1, torch.device("cpu"), None)
    config = ImageClassification.model_validate(tiny(validation={"folds": 3}), strict=False)
    folds = ImageFolds(config, KFold(folds=3), alone)
    folds.write_splits(tmp_path)
    folds.write_splits(tmp_path)
    path = tmp_path / "folds/splits.csv"
    text = path.read_text()
    path.write_text(text.replace("\n3,3,", "\n3,4,", 1))
    with pytest.raises(DataError, match=r"splits\.csv, line 5: was 3,4,.* the data set has changed"):
        folds.write_splits(tmp_path)
    path.write_text(text + "1797,0,0\n")
    with pytest.raises(DataError, match="made of 1798 samples, the data set has 1797 now"):
        folds.write_splits(tmp_path)
