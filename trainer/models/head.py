"""The last layer of a network, which turns features into logits: where it is, and how a new one takes its place."""

from collections.abc import Callable

from torch import nn

from trainer.config.model import Head


class ClassifierHead(nn.Sequential):
    """Layers that took the place of a network's own classifier; the type tells where they begin."""


def head_name(model: nn.Module) -> str:
    """The dotted name of the module that gives the logits, such as ``fc`` or ``classifier.6``.

    It is the ``ClassifierHead`` where there is one, else the last Linear in the order of registration, else (SqueezeNet
    has none) the last Conv2d. A test holds this against every family of torchvision.

    Raises:
        ValueError: The network has neither.
    """
    for kind in (ClassifierHead, nn.Linear, nn.Conv2d):
        names: list[str] = [name for name, module in model.named_modules() if isinstance(module, kind)]
        if names:
            return names[-1]
    raise ValueError(f"{type(model).__name__} has no layer that could give logits")


def replace_head(model: nn.Module, head: Head, classes: int) -> None:
    """Put a new classifier with ``classes`` outputs in place of the network's own.

    Its weights are torch's defaults, drawn from the global generator, on the device and in the dtype of the old one.
    Where the old one is a convolution, whose map the network averages afterwards, the new layers are 1x1 convolutions.
    """
    name = head_name(model)
    old = model.get_submodule(name)
    if isinstance(old, nn.Linear):
        new = _layers(nn.Linear, old.in_features, head, classes)
    elif isinstance(old, nn.Conv2d):
        new = _layers(_pointwise, old.in_channels, head, classes)
    else:
        raise TypeError(f"{name}: has been replaced already")
    model.set_submodule(name, new.to(old.weight.device, old.weight.dtype))


def _pointwise(features: int, width: int) -> nn.Module:
    return nn.Conv2d(features, width, kernel_size=1)


def _layers(layer: Callable[[int, int], nn.Module], features: int, head: Head, classes: int) -> ClassifierHead:
    layers: list[nn.Module] = []
    if head.hidden is not None:
        layers += [layer(features, head.hidden), nn.ReLU()]
        features = head.hidden
    if head.dropout:
        layers.append(nn.Dropout(head.dropout))
    return ClassifierHead(*layers, layer(features, classes))
