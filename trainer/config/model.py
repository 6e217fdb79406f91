"""Which network is trained."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from trainer.config.base import Config
from trainer.config.imports import ImportedModel
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


class Transformer(Config):
    """A transformer encoder over an image read as a sequence, its rows or its patches (Vaswani et al., 2017)."""

    name: Literal["transformer"]
    """Selects this model."""
    tokens: Literal["rows", "patches"] = "rows"
    """What an element of the sequence is: a row of pixels, or a square patch."""
    patch_size: Annotated[int, Field(ge=1, le=256)] = 4
    """Side of a patch (pixels); the image's sides must be multiples of it."""
    width: Width = 64
    """Length of the vector that stands for an element."""
    layers: Annotated[int, Field(ge=1, le=64)] = 2
    """Encoder layers."""
    heads: Annotated[int, Field(ge=1, le=256)] = 4
    """Attention heads; `width` must be a multiple of it."""
    feed_forward: Width = 256
    """Width of the hidden layer behind the attention (units)."""
    activation: Activation = "gelu"
    """Non-linearity of that layer."""
    dropout: Probability = 0.0
    """Chance of dropping a unit after the embedding, the attention and the feed-forward layer."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads: must divide width ({self.width}; got {self.heads})")
        return self


class Head(Config):
    """The layers that replace a network's own classifier: Linear, or Linear - ReLU - Dropout - Linear."""

    hidden: Width | None = None
    """Width of a hidden layer (units). Default: none, a single Linear."""
    dropout: Probability = 0.0
    """Chance of dropping a unit before the last Linear."""


class Unfreeze(Config):
    """From an epoch on, fewer layers are frozen."""

    epoch: Annotated[int, Field(ge=2)]
    """The first epoch, counted from 1, to which it applies."""
    freeze: Annotated[str, Field(min_length=1)]
    """What is still frozen from then on, as in `freeze`."""


class TransferConfig(Config):
    """What models that may start from weights trained elsewhere have in common."""

    weights: Annotated[str, Field(min_length=1)] | None = None
    """Where to start: one of torchvision's weights by its enum name, such as IMAGENET1K_V1 (downloaded), or a .pth, .pt
    or .safetensors file by its absolute path as the pod sees it. The classifier in it is not used. Weights from
    ImageNet want `normalization: imagenet` in the data. Default: random."""
    freeze: Annotated[str, Field(min_length=1)] = "none"
    """Layers that do not learn: none; all (but the new head); or the name of a layer, such as layer3 or features.5, for
    everything up to and including it. Frozen layers run as in evaluation: their BatchNorm statistics stay, and
    nothing is dropped."""
    unfreeze: tuple[Unfreeze, ...] = ()
    """Unfreeze step by step (Howard and Ruder, 2018); each entry states what is frozen from its epoch on."""
    head: Head | None = None
    """The new classifier. Default: the network's own form of it, with an output a class."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        epochs = [stage.epoch for stage in self.unfreeze]
        if epochs != sorted(set(epochs)):
            raise ValueError("unfreeze: epochs must ascend")
        if self.unfreeze and self.freeze == "none":
            raise ValueError("unfreeze: needs freeze, or there is nothing to unfreeze")
        return self


class EfficientNetLite(TransferConfig):
    """EfficientNet-Lite0: EfficientNet without squeeze-and-excitation, with ReLU6 (Tan and Le, 2019; Liu, 2020)."""

    name: Literal["efficientnet-lite0"]
    """Selects this model."""


def _is_torchvision_classifier(name: str) -> str:
    if name not in TORCHVISION_CLASSIFIERS:
        raise ValueError(f"unknown model {name!r} (allowed {', '.join((*_own_models(), *TORCHVISION_CLASSIFIERS))})")
    return name


class TorchvisionClassifier(TransferConfig):
    """Any image classifier of torchvision, with as many outputs as the data has classes."""

    name: Annotated[
        str,
        AfterValidator(_is_torchvision_classifier),
        Field(json_schema_extra={"enum": list(TORCHVISION_CLASSIFIERS)}),
    ]
    """torchvision's name of the model, such as resnet18."""


def _model_tag(value: Any) -> str:
    if isinstance(value, ImportedModel) or (isinstance(value, dict) and "import" in value):
        return "import"
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return name if name in _own_models() else "torchvision"


ImageModel = Annotated[
    Annotated[FeedForward, Tag("feed-forward")]
    | Annotated[ConvNet, Tag("convnet")]
    | Annotated[Transformer, Tag("transformer")]
    | Annotated[EfficientNetLite, Tag("efficientnet-lite0")]
    | Annotated[TorchvisionClassifier, Tag("torchvision")]
    | Annotated[ImportedModel, Tag("import")],
    Discriminator(_model_tag),
]


def _own_models() -> tuple[str, ...]:
    """Names of the trainer's own models."""
    union, _ = get_args(ImageModel)
    tags = (extra.tag for member in get_args(union) for extra in member.__metadata__ if isinstance(extra, Tag))
    return tuple(tag for tag in tags if tag not in ("torchvision", "import"))


def without_training(config: ImageModel) -> ImageModel:
    """The same layers, without where their weights came from and which of them learned."""
    if not isinstance(config, TransferConfig):
        return config
    return config.model_copy(update={"weights": None, "freeze": "none", "unfreeze": ()})


class LstmSequenceToSequence(Config):
    """A bidirectional LSTM encoder and an LSTM decoder with attention (Bahdanau et al., 2015; Luong et al., 2015)."""

    name: Literal["lstm-seq2seq"]
    """Selects this model."""
    embedding: Width = 128
    """Length of the vector that stands for a token."""
    hidden: Width = 256
    """Units of each direction of the encoder and of the decoder, a layer."""
    layers: Annotated[int, Field(ge=1, le=16)] = 1
    """Layers of encoder and decoder."""
    attention: Literal["additive", "dot"] = "dot"
    """How the decoder scores the encoder's states: Bahdanau's additive form, or a scaled dot product."""
    dropout: Probability = 0.0
    """Chance of dropping a unit of the embeddings, between layers and before the output."""


SequenceModel = LstmSequenceToSequence
