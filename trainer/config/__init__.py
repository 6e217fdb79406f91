"""The training schema. Imports the standard library and pydantic only, so the launcher can use it without torch."""

from trainer.config.contract import RunFile
from trainer.config.train import ImageClassification, SequenceToSequence, Train, TrainConfig

__all__ = ["ImageClassification", "RunFile", "SequenceToSequence", "Train", "TrainConfig"]
