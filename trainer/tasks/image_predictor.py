"""Classes of image files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.config.network import ImageNetwork
from trainer.data.decode import UndecodableImage, decode_to_shape
from trainer.data.images import Shape
from trainer.losses import class_probabilities
from trainer.tasks.image_network import build_image_network
from trainer.tasks.predictor import Prediction

_BATCH = 64


class ImagePredictor:
    """Classifies image files of any format that Pillow reads.

    Args:
        network: What the checkpoint says of itself.
    """

    def __init__(self, network: ImageNetwork) -> None:
        self._shape: Shape = network.image_shape
        self._classes = network.classes
        self._activation = network.activation
        self._preprocess, self.model = build_image_network(
            network.model,
            stored=network.image_shape,
            image_size=network.image_size,
            mean=list(network.mean),
            std=list(network.std),
            classes=len(network.classes),
        )

    def __call__(self, inputs: list[str], *, top: int) -> list[Prediction]:
        """Classes by falling probability for each file, or why it is not a readable image."""
        answers: list[Prediction] = []
        for start in range(0, len(inputs), _BATCH):
            answers += self._predict_batch(inputs[start : start + _BATCH], top)
        return answers

    def _predict_batch(self, names: list[str], top: int) -> list[Prediction]:
        read = [self._read(name) for name in names]
        images = [image for image in read if isinstance(image, Tensor)]
        rows = iter(self._probabilities(images)) if images else iter(())
        return [
            self._answer(name, next(rows), top)
            if isinstance(image, Tensor)
            else Prediction(name, None, None, error=image)
            for name, image in zip(names, read, strict=True)
        ]

    def _read(self, name: str) -> Tensor | str:
        """The file as uint8 [C, H, W], or what is wrong with it."""
        try:
            return torch.from_numpy(np.array(decode_to_shape(Path(name).read_bytes(), self._shape)))
        except OSError as error:
            return error.strerror or str(error)
        except UndecodableImage as error:
            return f"not a readable image ({error})"

    @torch.inference_mode()
    def _probabilities(self, images: list[Tensor]) -> Tensor:
        logits: Tensor = self.model.eval()(self._preprocess(torch.stack(images)))
        return class_probabilities(logits, self._activation)

    def _answer(self, name: str, row: Tensor, top: int) -> Prediction:
        best = row.topk(min(top, len(row)))
        (first, probability), *others = (
            (self._classes[index], value)
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        return Prediction(name, first, probability, tuple(others))
