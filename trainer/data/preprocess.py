"""From stored uint8 to what a model takes, on the device of the batch: a quarter of the bytes cross to it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.images import Shape


class Preprocess(nn.Module):
    """Resize, normalise and, where colour is wanted, repeat grey: uint8 [B, C, H, W] to float32.

    Args:
        mean: Mean of each channel, pixels in 0..1: of the stored ones, or of the colours that grey is to become.
        std: Standard deviation of each of these channels, pixels in 0..1.
        image_size: Side of the square given to the model (pixels); None keeps the stored size.
        channels: How many channels the model expects; None is as many as there are means.

    Raises:
        ValueError: The model expects another number of channels than there are means, and they are not those of grey.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, mean: list[float], std: list[float], image_size: int | None = None, channels: int | None = None
    ) -> None:
        super().__init__()
        if channels not in (None, len(mean)) and len(mean) != 1:
            raise ValueError(f"cannot turn {len(mean)} channels into {channels}; only grey can be expanded")
        self.image_size = image_size
        self.channels = channels or len(mean)
        # (x / 255 - mean) / std as one multiplication and one addition. Not saved: run.json's data decides them.
        means, deviations = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", (1 / (255 * deviations)).float().view(-1, 1, 1), persistent=False)
        self.register_buffer("shift", (-means / deviations).float().view(-1, 1, 1), persistent=False)

    def output_shape(self, stored: Shape) -> Shape:
        """Channels, height and width (pixels) the model gets for images of the ``stored`` shape."""
        _, height, width = stored
        return self.channels, self.image_size or height, self.image_size or width

    def forward(self, images: Tensor) -> Tensor:
        """Turn uint8 [B, C, H, W] into normalised float32 [B, channels, size, size]; keeps the memory format."""
        pixels = images.float()
        if self.image_size is not None and images.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            pixels = functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
        if pixels.shape[1] < len(self.scale):  # grey, but each colour has a mean of its own: they differ from here on
            pixels = pixels.repeat(1, len(self.scale), 1, 1)
        # In place: on a CPU three times as fast as addcmul, which cannot vectorise over broadcast operands.
        pixels = pixels.mul_(self.scale).add_(self.shift)
        return pixels if pixels.shape[1] == self.channels else pixels.expand(-1, self.channels, -1, -1)
