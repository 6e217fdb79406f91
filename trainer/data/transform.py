"""The user's own variation of training images, one image at a time.

Before each image the global generators are seeded by a hash of (seed, epoch, sample id), so what is drawn depends on
neither the batch nor the rank, and a resumed run draws it again.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer.config.imports import ImportedTransform
from trainer.data.augment import random_words
from trainer.data.global_random import lent_generators
from trainer.exits import ConfigError
from trainer.own_code.imports import prepare_imported
from trainer.own_code.kind import kind_of
from trainer.runtime.determinism import derive_seed

FIELD = "train.data.transform"


class SampleTransform:
    """Applies a transform of the user's own to the images of a batch.

    Args:
        config: Which transform.
        seed: Seed of the run.

    Raises:
        ConfigError: It cannot be imported, or not be called with these arguments, or gives nothing that can be called.
    """

    def __init__(self, config: ImportedTransform, seed: int) -> None:
        self._config = config
        self._key = derive_seed("transform", seed)
        with lent_generators() as seed_all:
            seed_all(self._key)
            self._transform: Callable[[Tensor], Any] = prepare_imported(config, FIELD)()
        if not callable(self._transform):
            raise ConfigError(
                f"{FIELD}.import: {config.import_} gave {kind_of(self._transform)}; expected something to call with an "
                "image"
            )

    def __call__(self, images: Tensor, epoch: int, sample_ids: Tensor) -> Tensor:
        """Vary ``images``, uint8 [B, C, H, W] on the CPU.

        Args:
            images: The batch; the transform may change it in place.
            epoch: Pass over the data, from 0.
            sample_ids: Place of each image in its source, int64 [B].

        Raises:
            ConfigError: The transform gives another type or shape.
        """
        seeds = random_words(self._key, epoch, sample_ids, draws=1)[0].tolist()
        with lent_generators() as seed_all:
            return torch.stack([self._vary(image, seed, seed_all) for image, seed in zip(images, seeds, strict=True)])

    def _vary(self, image: Tensor, seed: int, seed_all: Callable[[int], None]) -> Tensor:
        shape = image.shape
        seed_all(seed)
        varied = self._transform(image)
        if isinstance(varied, Tensor) and varied.dtype == torch.uint8 and varied.shape == shape:
            return varied
        raise ConfigError(
            f"{FIELD}.import: {self._config.import_} gave {kind_of(varied)} for an image uint8 {list(shape)}; expected "
            "the same type and shape"
        )
