"""Cross-validation of a classifier of images."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.config.contract import FOLDS_DIR, PLOTS_DIR, PREDICTIONS_DIR, SPLITS_FILE
from trainer.config.train import ImageClassification
from trainer.config.validation import KFold
from trainer.data.folds import WHOLE, fold_of_each, fold_splits, pool
from trainer.data.load import load_images
from trainer.exits import DataError
from trainer.metrics import classification_summary, classification_text
from trainer.output.plots import classifier_plots
from trainer.output.storage import make_directory, replacing, write_text
from trainer.own_code.check import import_own_code
from trainer.runtime.distributed import Ranks
from trainer.tasks.base import Folds
from trainer.tasks.image_classification import ImageClassificationTask

_PREDICTIONS = f"{PREDICTIONS_DIR}/test.csv"
_HEADER = ("sample", "class", "fold")


class ImageFolds(Folds):
    """The data read once, and the classifier of each fold."""

    def __init__(self, config: ImageClassification, validation: KFold, ranks: Ranks) -> None:
        self.count = validation.folds
        self._config = config
        self._ranks = ranks
        if config.imported:
            import_own_code(config, ranks)
        self._pool = pool(
            load_images(
                config.data.model_copy(update=WHOLE),
                local_rank=ranks.local_rank,
                local_ranks=ranks.local_world_size,
                barrier=ranks.barrier,
            )
        )
        self._fold_of = fold_of_each(self._pool.train.labels, self.count, config.data.split_seed)

    def task(self, fold: int) -> ImageClassificationTask:
        """The classifier, as new, and the splits of ``fold``."""
        splits = fold_splits(self._pool, self._fold_of, fold, self._config.data)
        return ImageClassificationTask(self._config, self._ranks, splits)

    def write_splits(self, folder: Path) -> None:
        """folds/splits.csv: sample, class and the fold that tests it."""
        path = folder / SPLITS_FILE
        rows = self._rows()
        if path.exists():
            self._compare(path, rows)
            return
        make_directory(path.parent)
        _write_csv(path, [_HEADER, *rows])

    def _rows(self) -> list[tuple[str, str, str]]:
        samples, classes = self._pool.train, self._pool.classes
        names = samples.names(torch.arange(len(samples)))
        labels, folds = samples.labels.tolist(), self._fold_of.tolist()
        return [(name, classes[label], str(fold)) for name, label, fold in zip(names, labels, folds, strict=True)]

    @staticmethod
    def _compare(path: Path, rows: list[tuple[str, str, str]]) -> None:
        with path.open(encoding="utf-8", newline="") as file:
            _, *saved = csv.reader(file)
        if len(saved) != len(rows):
            raise DataError(
                f"{path}: the folds were made of {len(saved)} samples, the data set has {len(rows)} now; bring the old "
                "data back, or give the job another name"
            )
        for line, (before, now) in enumerate(zip(saved, rows, strict=True), start=2):
            if tuple(before) != now:
                raise DataError(
                    f"{path}, line {line}: was {','.join(before)}, would be {','.join(now)} now: the data set has "
                    "changed; bring the old data back, or give the job another name"
                )

    def summary(self, summaries: list[dict[str, Any]]) -> dict[str, Any]:
        """Samples, classes, and the report and confusion matrix over every sample, each tested once."""
        confusion = sum(np.array(summary["confusion"], dtype=np.int64) for summary in summaries)
        classes = self._pool.classes
        return {
            "samples": {"cross-validation": self._pool.counts()["train"]},
            "classes": list(classes),
            "report": classification_summary(np.asarray(confusion), classes),
            "confusion": np.asarray(confusion).tolist(),
            "skipped_samples": list(self._pool.skipped),
        }

    def write(self, folder: Path, summary: dict[str, Any]) -> None:
        """The report as text, the confusion matrix, and each sample's prediction by the fold that tested it."""
        write_text(folder / "classification_report.txt", classification_text(summary["report"]))
        classifier_plots(make_directory(folder / PLOTS_DIR), summary)
        self._write_predictions(folder)

    def _write_predictions(self, folder: Path) -> None:
        """predictions/test.csv: the rows of all folds, in the order of folds/splits.csv."""
        rows: dict[str, list[str]] = {}
        for fold in range(self.count):
            with (folder / FOLDS_DIR / str(fold) / _PREDICTIONS).open(encoding="utf-8", newline="") as file:
                header, *tested = csv.reader(file)
            rows |= {row[0]: [*row, str(fold)] for row in tested}
        path = make_directory((folder / _PREDICTIONS).parent) / Path(_PREDICTIONS).name
        _write_csv(path, [[*header, "fold"], *(rows[name] for name, _, _ in self._rows())])


def _write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
