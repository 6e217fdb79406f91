"""A transformer encoder that reads an image as a sequence of its rows or patches."""

import torch
from torch import Tensor, nn
from torch.nn import Parameter, functional

from trainer.config.model import Transformer
from trainer.data.images import Shape
from trainer.exits import ConfigError
from trainer.models.attention import MultiHeadAttention
from trainer.models.feed_forward import ACTIVATIONS

# Of the Vision Transformer (Dosovitskiy et al., 2021): small beside the embedding, so content counts first.
POSITION_STD = 0.02


def build_transformer(config: Transformer, input_shape: Shape, classes: int) -> nn.Module:
    """Embedding and learned positions, pre-norm encoder layers, and a Linear on the mean of the sequence.

    Raises:
        ConfigError: Patches of ``config.patch_size`` do not tile images of ``input_shape``.
    """
    channels, height, width = input_shape
    if config.tokens == "rows":
        return TransformerClassifier(config, Rows(), height, channels * width, classes)
    side = config.patch_size
    if height % side or width % side:
        raise ConfigError(
            f"train.model.patch_size: images of {height}x{width} pixels cannot be cut into patches of {side}x{side} "
            f"(allowed: {', '.join(map(str, _sides(height, width)))})"
        )
    return TransformerClassifier(config, Patches(side), height * width // side**2, channels * side**2, classes)


def _sides(height: int, width: int) -> list[int]:
    return [side for side in range(1, min(height, width) + 1) if height % side == width % side == 0]


class Rows(nn.Module):
    """An image as the sequence of its rows, from the top."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn images [B, C, H, W] into sequences [B, H, C * W]."""
        return images.transpose(1, 2).flatten(2)


class Patches(nn.Module):
    """An image as the sequence of its square patches, in reading order.

    Args:
        side: Side of a patch (pixels), which divides height and width.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """Turn images [B, C, H, W] into sequences [B, H * W / side^2, C * side^2]."""
        return functional.pixel_unshuffle(images, self.side).flatten(2).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward layer for each element, each added to what it read.

    What they read is normalised, not the sum (pre-norm: Xiong et al., "On Layer Normalization in the Transformer
    Architecture", 2020), which trains without a warm-up.
    """

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = MultiHeadAttention(config.width, config.heads)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.width, config.feed_forward),
            ACTIVATIONS[config.activation](),
            nn.Linear(config.feed_forward, config.width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, sequence: Tensor) -> Tensor:
        """From and to [B, T, width]."""
        attended, _ = self.attention(self.attention_norm(sequence))
        sequence = sequence + self.dropout(attended)
        output: Tensor = sequence + self.dropout(self.feed_forward(self.feed_forward_norm(sequence)))
        return output


class TransformerClassifier(nn.Module):
    """The encoder between an embedding and a linear classifier.

    Args:
        config: Its layers.
        tokens: Turns images into sequences [B, ``length``, ``features``].
        length: Elements of a sequence.
        features: Values of an element.
        classes: How many logits are returned.
    """

    def __init__(self, config: Transformer, tokens: nn.Module, length: int, features: int, classes: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.embedding = nn.Linear(features, config.width)
        self.positions = Parameter(torch.randn(length, config.width) * POSITION_STD)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.Sequential(*(EncoderLayer(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.width)
        self.classifier = nn.Linear(config.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, C, H, W] to logits [B, classes]."""
        sequence = self.layers(self.dropout(self.embedding(self.tokens(images)) + self.positions))
        logits: Tensor = self.classifier(self.norm(sequence).mean(dim=1))
        return logits
