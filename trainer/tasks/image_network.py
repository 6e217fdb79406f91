"""A classifier of images and what comes before it, as training builds both and prediction builds them again."""

from torch import nn

from trainer.config.model import ImageModel
from trainer.data.images import Shape
from trainer.data.preprocess import Preprocess
from trainer.models import build_model, required_channels


def build_image_network(
    model: ImageModel, *, stored: Shape, image_size: int | None, mean: list[float], std: list[float], classes: int
) -> tuple[Preprocess, nn.Module]:
    """From stored images to what the network takes, and the network, its weights from torch's global generator.

    Args:
        model: Which network.
        stored: Channels, height and width (pixels) of stored images, uint8.
        image_size: Side that they are resized to (pixels); None keeps it.
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel, likewise.
        classes: How many outputs it has.
    """
    preprocess = Preprocess(mean, std, image_size, required_channels(model))
    return preprocess, build_model(model, input_shape=preprocess.output_shape(stored), classes=classes)
