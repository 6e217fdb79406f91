"""Which class handles which task: a plain dict from the type of its config."""

from collections.abc import Callable
from typing import Any

from trainer.config.train import ImageClassification, SequenceToSequence, TrainConfig
from trainer.runtime.distributed import Ranks
from trainer.tasks.base import Folds, Task
from trainer.tasks.image_classification import ImageClassificationTask
from trainer.tasks.image_folds import ImageFolds
from trainer.tasks.sequence_to_sequence import SequenceToSequenceTask

TASKS: dict[type, Callable[[Any, Ranks], Task]] = {
    ImageClassification: ImageClassificationTask,
    SequenceToSequence: SequenceToSequenceTask,
}


def build_task(config: TrainConfig, ranks: Ranks) -> Task:
    """Read the data and build the network; every rank calls it alike."""
    return TASKS[type(config)](config, ranks)


def build_folds(config: TrainConfig, ranks: Ranks) -> Folds | None:
    """Read the data and draw the folds of cross-validation, where it is asked for; every rank calls it alike."""
    if isinstance(config, ImageClassification) and config.validation:
        return ImageFolds(config, config.validation, ranks)
    return None
