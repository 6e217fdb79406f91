"""What a checkpoint says of its network, so that it can be used without the configuration of its training."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import Config
from trainer.config.imports import Source
from trainer.config.model import ImageModel, SequenceModel
from trainer.config.train import Decoding

Size = Annotated[int, Field(ge=1, le=65536)]


class ImageNetwork(Config):
    """A classifier of images."""

    task: Literal["image-classification"]
    """What kind of problem it solves."""
    model: ImageModel
    """Its layers."""
    image_shape: tuple[Size, Size, Size]
    """Channels, height and width (pixels) of images as they are stored, uint8."""
    image_size: Size | None
    """Side that they are resized to on the way to the network (pixels); None keeps the stored size."""
    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    """Mean of each channel that is taken off, pixels in 0..1."""
    std: Annotated[tuple[float, ...], Field(min_length=1)]
    """Standard deviation of each channel that the rest is divided by."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the outputs."""
    activation: Literal["softmax", "sigmoid"]
    """What turns outputs into probabilities: of classes that exclude each other, or of each class on its own."""
    code: dict[str, Source] = Field({})
    """The user's own code that it was trained with, by module."""


class SequenceNetwork(Config):
    """A network that turns one sequence of tokens into another."""

    task: Literal["sequence-to-sequence"]
    """What kind of problem it solves."""
    model: SequenceModel
    """Its layers."""
    source_tokens: Literal["characters", "words"]
    """What a token of the source is."""
    target_tokens: Literal["characters", "words"]
    """What a token of the target is."""
    lowercase: bool
    """Whether the source is read in lower case."""
    source_vocabulary: tuple[str, ...]
    """Tokens of the source, in the order of their numbers."""
    target_vocabulary: tuple[str, ...]
    """Tokens of the target, in the order of their numbers."""
    decoding: Decoding
    """How outputs are searched."""


Network = Annotated[ImageNetwork | SequenceNetwork, Field(discriminator="task")]
