"""Which network is trained."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from trainer.config.base import Config
from trainer.config.torchvision_models import TORCHVISION_CLASSIFIERS

Width = Annotated[int, Field(ge=1, le=65536)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Activation = Literal["relu", "gelu", "silu", "tanh"]


def _not_empty(blocks: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    if not blocks or not all(blocks):
        raise ValueError("needs at least one block, and each block at least one width, such as [[32, 32], [64, 64]]")
    return blocks


class FeedForward(Config):
    """Fully connected layers over the flattened input, whatever its shape."""

    name: Literal["feed-forward"]
    """Selects this model."""
    hidden: Annotated[tuple[Width, ...], Field(max_length=64)] = (256, 128)
    """Width of each hidden layer (units)."""
    activation: Activation = "relu"
    """Non-linearity after each hidden layer."""
    batch_norm: bool = False
    """BatchNorm before each activation."""
    dropout: Probability = 0.0
    """Chance of dropping a unit after each activation."""


class ConvNet(Config):
    """Blocks of 3x3 convolutions, each ended by a 2x2 max-pool, and a fully connected head."""

    name: Literal["convnet"]
    """Selects this model."""
    blocks: Annotated[tuple[tuple[Width, ...], ...], Field(max_length=16), AfterValidator(_not_empty)] = (
        (32, 32),
        (64, 64),
    )
    """Channels of the convolutions in each block."""
    hidden: Annotated[tuple[Width, ...], Field(max_length=64)] = (128,)
    """Width of each hidden layer of the head (units)."""
    activation: Activation = "relu"
    """Non-linearity after each convolution and hidden layer."""
    batch_norm: bool = True
    """BatchNorm after each convolution."""
    dropout: Probability = 0.0
    """Chance of dropping a unit before each layer of the head."""


def _is_torchvision_classifier(name: str) -> str:
    if name not in TORCHVISION_CLASSIFIERS:
        own = ("feed-forward", "convnet")
        raise ValueError(f"unknown model {name!r} (allowed {', '.join(own + TORCHVISION_CLASSIFIERS)})")
    return name


class TorchvisionClassifier(Config):
    """Any image classifier of torchvision, from random weights, with as many outputs as the data has classes."""

    name: Annotated[
        str,
        AfterValidator(_is_torchvision_classifier),
        Field(json_schema_extra={"enum": list(TORCHVISION_CLASSIFIERS)}),
    ]
    """torchvision's name of the model, such as resnet18."""


def _model_tag(value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return name if name in ("feed-forward", "convnet") else "torchvision"


Model = Annotated[
    Annotated[FeedForward, Tag("feed-forward")]
    | Annotated[ConvNet, Tag("convnet")]
    | Annotated[TorchvisionClassifier, Tag("torchvision")],
    Discriminator(_model_tag),
]
