"""EfficientNet-Lite0: EfficientNet for small devices, without squeeze-and-excitation and with ReLU6.

Tan and Le, "EfficientNet", 2019; Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020. Layers are named
as in torchvision's EfficientNet: ``features.0`` is the stem, ``features.1`` to ``features.7`` are the stages, and
``features.8`` is the last convolution.
"""

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from trainer.config.model import EfficientNetLite
from trainer.data.images import Shape
from trainer.models.head import replace_head
from trainer.models.pretrained import InputTransform, load_weights


class _StageShape(NamedTuple):
    """Blocks of one width; the first has the stride."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


# Table 1 of Tan and Le. The Lite networks of every scale keep the stem and the last convolution.
_STAGES = (
    _StageShape(1, 3, 1, 16, 1),
    _StageShape(6, 3, 2, 24, 2),
    _StageShape(6, 5, 2, 40, 2),
    _StageShape(6, 3, 2, 80, 3),
    _StageShape(6, 5, 1, 112, 3),
    _StageShape(6, 5, 2, 192, 4),
    _StageShape(6, 3, 1, 320, 1),
)
_STEM, _FEATURES = 32, 1280
_DROPOUT = 0.2
# Chance of skipping the last block's residual branch; it grows evenly from 0 at the first.
_STOCHASTIC_DEPTH = 0.2
# Of the pixels (0 to 1) with which the published weights were trained, unlike most of ImageNet.
_PUBLISHED_MEAN, _PUBLISHED_STD = 127 / 255, 128 / 255


def build_efficientnet_lite0(config: EfficientNetLite, input_shape: Shape, classes: int) -> nn.Module:
    """Build EfficientNet-Lite0 for colour images of any size.

    Weights may have this module's names or those of the packages efficientnet-pytorch and efficientnet-lite-pytorch.
    The published ones were trained with pixels in -1..1, so the network makes that of images normalised with ImageNet's
    mean and deviation, unless the weights say otherwise, being a network that this trainer saved.

    Raises:
        ConfigError: The weights are another network's.
        DataError: The file of weights cannot be read.
    """
    del input_shape  # padding follows the size of each batch
    model = EfficientNetLite0(classes)
    if config.weights:
        model.input_transform.expect(_PUBLISHED_MEAN, _PUBLISHED_STD)
        load_weights(model, config.weights, name=config.name, rename=_own_name)
    if config.head:
        replace_head(model, config.head, classes)
    return model


class EfficientNetLite0(nn.Module):
    """Float images [B, 3, H, W] to logits [B, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.input_transform = InputTransform()
        self.features = nn.Sequential(
            _convolution(3, _STEM, kernel=3, stride=2),
            *_stages(),
            _convolution(_STAGES[-1].channels, _FEATURES),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(_DROPOUT, inplace=True), nn.Linear(_FEATURES, classes))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of ``images``."""
        features = self.features(self.input_transform(images))
        logits: Tensor = self.classifier(self.avgpool(features).flatten(1))
        return logits


class _Block(nn.Module):
    """An inverted residual: widen, convolve each channel by itself, narrow (Sandler et al., "MobileNetV2", 2018)."""

    def __init__(self, channels: int, shape: _StageShape, stride: int, skip_chance: float) -> None:
        from torchvision.ops import StochasticDepth  # 1.2 s to import, and most models of this package do without

        super().__init__()
        width = channels * shape.expansion
        expand = [_convolution(channels, width)] if shape.expansion > 1 else []
        depthwise = _convolution(width, width, kernel=shape.kernel, stride=stride, groups=width)
        project = _convolution(width, shape.channels, activation=False)
        self.block = nn.Sequential(*expand, depthwise, project)
        self.residual = stride == 1 and channels == shape.channels
        self.stochastic_depth = StochasticDepth(skip_chance, "row")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + self.stochastic_depth(y) if self.residual else y


class _SameConvolution(nn.Conv2d):
    """TensorFlow's padding "SAME": ceil(size / stride) outputs, and an odd pixel of padding at the right and bottom.

    The weights were trained so. At stride 1 it is the usual symmetric padding, which the convolution does itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1):
            height, width = (
                _same_padding(size, kernel, stride)
                for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
            )
            x = functional.pad(x, (*width, *height))
        return super().forward(x)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _convolution(
    channels: int, width: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution - BatchNorm - [ReLU6]; torchvision's Conv2dNormActivation cannot pad one side more than the other."""
    convolution = _SameConvolution(
        channels, width, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups, bias=False
    )
    # Momentum stays PyTorch's 0.1: the 0.01 of the paper needs more steps than a small data set gives.
    norm = nn.BatchNorm2d(width, eps=1e-3)
    return nn.Sequential(convolution, norm, *([nn.ReLU6(inplace=True)] if activation else []))


def _stages() -> list[nn.Sequential]:
    total = sum(shape.blocks for shape in _STAGES)
    stages: list[nn.Sequential] = []
    channels, done = _STEM, 0
    for shape in _STAGES:
        blocks = []
        for index in range(shape.blocks):
            stride = shape.stride if index == 0 else 1
            blocks.append(_Block(channels, shape, stride, skip_chance=_STOCHASTIC_DEPTH * done / total))
            channels, done = shape.channels, done + 1
        stages.append(nn.Sequential(*blocks))
    return stages


def _initialise(module: nn.Module) -> None:
    """As torchvision's EfficientNet begins, but for its classifier, whose weights would be huge for few classes."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")


def _own_name(entry: str) -> str:
    """From efficientnet-pytorch's name of an entry of the state dict to this module's; other names stay."""
    module, _, leaf = entry.rpartition(".")
    return f"{_REFERENCE_NAMES.get(module, module)}.{leaf}"


def _reference_names() -> dict[str, str]:
    """efficientnet-pytorch numbers all blocks through, and names the parts of each."""
    last = len(_STAGES) + 1
    names = {
        "_conv_stem": "features.0.0",
        "_bn0": "features.0.1",
        "_conv_head": f"features.{last}.0",
        "_bn1": f"features.{last}.1",
        "_fc": "classifier.1",
    }
    block = 0
    for stage, shape in enumerate(_STAGES, start=1):
        parts = ["_expand_conv _bn0", "_depthwise_conv _bn1", "_project_conv _bn2"][0 if shape.expansion > 1 else 1 :]
        for index in range(shape.blocks):
            for part, pair in enumerate(parts):
                convolution, norm = pair.split()
                names[f"_blocks.{block}.{convolution}"] = f"features.{stage}.{index}.block.{part}.0"
                names[f"_blocks.{block}.{norm}"] = f"features.{stage}.{index}.block.{part}.1"
            block += 1
    return names


_REFERENCE_NAMES = _reference_names()
