"""A network that job.yaml names by `import: nets:SmallNet`."""

from itertools import pairwise

from torch import Tensor, nn


class SmallNet(nn.Module):
    """Convolutions that see ever more of the image, averaged over its area.

    Args:
        width: Channels of each convolution.
        depth: How many convolutions there are.
        input_shape: Channels, height and width of an image; the trainer passes them, since they have this name.
        classes: How many logits to give; passed in the same way.
    """

    def __init__(self, width: int = 16, depth: int = 2, *, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels = [input_shape[0], *[width] * depth]
        self.features = nn.Sequential(*(_block(*pair) for pair in pairwise(channels)))
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images float [B, C, H, W] to logits [B, classes]."""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
