"""The training schema. Imports the standard library and pydantic only, so the launcher can use it without torch."""

from trainer.config.contract import CommandFile, RunFile
from trainer.config.train import ImageClassification, SequenceToSequence, Train, TrainConfig

__all__ = ["CommandFile", "ImageClassification", "RunFile", "SequenceToSequence", "Train", "TrainConfig"]
