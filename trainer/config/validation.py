"""How the final numbers are checked: on one held-out split, or on every sample in turn."""

from typing import Annotated

from pydantic import Field

from trainer.config.base import Config


class KFold(Config):
    """Stratified k-fold cross-validation: as many runs, one after the other, each tested on another part of the data.

    Where a data set has test files of its own they stay unused; a test split that would be drawn is not drawn, so every
    sample is tested once. `data.split_seed` decides the folds, and `validation_fraction` is held out of what is left.
    """

    folds: Annotated[int, Field(ge=2, le=100)] = 5
    """Parts of equal size, each with the same share of every class; every class needs so many samples."""
