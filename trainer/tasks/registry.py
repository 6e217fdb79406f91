"""Which class handles which task: a plain dict from the type of its config."""

from collections.abc import Callable
from typing import Any

from trainer.config.train import ImageClassification, SequenceToSequence, TrainConfig
from trainer.runtime.distributed import Ranks
from trainer.tasks.base import Task
from trainer.tasks.image_classification import ImageClassificationTask
from trainer.tasks.sequence_to_sequence import SequenceToSequenceTask

TASKS: dict[type, Callable[[Any, Ranks], Task]] = {
    ImageClassification: ImageClassificationTask,
    SequenceToSequence: SequenceToSequenceTask,
}


def build_task(config: TrainConfig, ranks: Ranks) -> Task:
    """Read the data and build the network; every rank calls it alike."""
    return TASKS[type(config)](config, ranks)
