"""Weights trained elsewhere: torchvision's by name, or a file on the volume. No code in a file is ever run."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.data.statistics import IMAGENET_MEAN, IMAGENET_STD
from trainer.exits import ConfigError, DataError, InfrastructureError
from trainer.models.head import head_name

FILE_TYPES = (".safetensors", ".pth", ".pt")

# Training checkpoints often hold more than the network: where the state dict is then found.
_NESTED = ("state_dict", "model")
# The side outputs of these two are not built (`aux_logits=False`), but torchvision's weights have them.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
# What DistributedDataParallel puts in front of every name.
_WRAPPER = "module."
# How many entries an error lists of each kind.
_SHOWN = 3

StateDict = dict[str, Tensor]


class InputTransform(nn.Module):
    """Images as a network's weights were trained with, [B, 3, H, W]; until ``expect`` is called, as they come.

    Some published weights are not of images normalised with ImageNet's mean and deviation. What they need is saved with
    the network, so whoever loads it later need not know where its weights came from; files that lack it change nothing.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(3, 1, 1))
        self.register_buffer("shift", torch.zeros(3, 1, 1))

    def expect(self, mean: float, std: float) -> None:
        """From now on, turn images normalised as ImageNet's usually are into (pixels - ``mean``) / ``std``.

        Args:
            mean: Of all colours, pixels in 0..1.
            std: Likewise.
        """
        usual_mean, usual_std = torch.tensor(IMAGENET_MEAN).view(-1, 1, 1), torch.tensor(IMAGENET_STD).view(-1, 1, 1)
        self.scale.copy_(usual_std / std)
        self.shift.copy_((usual_mean - mean) / std)

    def forward(self, images: Tensor) -> Tensor:
        """The transformed ``images``."""
        return images * self.scale + self.shift

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        state_dict.setdefault(f"{prefix}scale", self.scale)
        state_dict.setdefault(f"{prefix}shift", self.shift)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def load_weights(model: nn.Module, source: str, *, name: str, rename: Callable[[str], str] | None = None) -> None:
    """Start ``model`` from ``source``; its head keeps its own values, whatever the source has for it.

    Args:
        model: The network, on the CPU, before its head is replaced.
        source: Name of one of torchvision's weights of this model, which is downloaded into torch's cache (TORCH_HOME),
            or the absolute path of a .safetensors file, or of a .pth or .pt file with a state dict.
        name: The network's name, as torchvision and error messages know it.
        rename: From an entry's name in the source to the network's own.

    Raises:
        ConfigError: No such weights, or another network's: an entry is missing, unexpected or of another shape.
        DataError: The file is missing or broken, or holds objects other than tensors, which are never loaded.
        InfrastructureError: The download failed.
    """
    state = _read_file(Path(source)) if _is_path(source) else _download(source, name)
    # Layers translate older forms of their entries by the versions in here; where there are none: today's form.
    versions = getattr(state, "_metadata", None) or getattr(model.state_dict(), "_metadata", None)
    if any(entry.startswith(_WRAPPER) for entry in state):
        state = {entry.removeprefix(_WRAPPER): value for entry, value in state.items()}
        versions = getattr(model.state_dict(), "_metadata", None)
    renamed = {rename(entry) if rename else entry: value for entry, value in state.items()}
    problems = _fill(model, renamed, versions, ignored=_AUXILIARY.get(name, ()))
    if problems:
        raise ConfigError(f"train.model.weights: {source} does not fit {name}: {'; '.join(problems)}")


def _is_path(source: str) -> bool:
    return "/" in source or source.endswith(FILE_TYPES)


def _fill(model: nn.Module, state: StateDict, versions: Any, *, ignored: tuple[str, ...]) -> list[str]:
    """Copy all but the head into ``model``; what does not fit, in words."""
    own = model.state_dict()
    head = head_name(model) + "."
    state = {name: value for name, value in state.items() if not name.startswith((head, *ignored))}
    shapes = {name: value.shape for name, value in state.items() if name in own and value.shape != own[name].shape}
    fitting = OrderedDict((name, value) for name, value in state.items() if name not in shapes)
    fitting._metadata = versions  # type: ignore[attr-defined]  # torch's own place for it
    try:
        result = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # a shape behind an older form of a name
        return [" ".join(str(error).split("\n", 1)[-1].split())]
    # BatchNorm of before PyTorch 0.4.1 counted no batches, and nothing reads the count while momentum is a number.
    counted = [name for name in result.missing_keys if not name.endswith(".num_batches_tracked")]
    missing = [name for name in counted if not name.startswith(head) and name not in shapes]
    texts = [
        f"shape of {name} is {list(shape)}, expected {list(own[name].shape)}" for name, shape in sorted(shapes.items())
    ]
    return [*_listed("missing ", missing), *_listed("unexpected ", sorted(result.unexpected_keys)), *_listed("", texts)]


def _listed(kind: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return [kind + ", ".join(entries[:_SHOWN]) + more]


def _download(source: str, name: str) -> StateDict:
    from torchvision import models  # 1.2 s to import, and files do without

    file_text = f"the absolute path of a {', '.join(FILE_TYPES[:-1])} or {FILE_TYPES[-1]} file"
    known = list(models.get_model_weights(name).__members__) if name in models.list_models() else []
    if source not in known:
        raise ConfigError(
            f"train.model.weights: unknown weights {source!r} for {name} (allowed {', '.join([*known, file_text])})"
        )
    try:
        state: StateDict = models.get_model_weights(name)[source].get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # no network, a wrong hash, a broken copy
        raise InfrastructureError(
            f"train.model.weights: cannot download {source} of {name} ({_first_line(error)}); "
            "without a network, put the file on a volume and give its path"
        ) from error
    return state


def _read_file(path: Path) -> StateDict:
    if not path.is_absolute() or path.suffix not in FILE_TYPES:
        raise ConfigError(
            f"train.model.weights: must be the absolute path of a {', '.join(FILE_TYPES)} file, as the pod sees it "
            f"(got {path})"
        )
    try:
        content = _load(path)
    except OSError as error:
        raise DataError(f"train.model.weights: cannot read {path} ({error.strerror or error})") from error
    except Exception as error:  # a broken file can raise anything
        raise DataError(f"train.model.weights: {path} {_what_is_wrong(error)}") from error
    return _state_dict(path, content)


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _what_is_wrong(error: Exception) -> str:
    """In our words: those of torch advise to load without a check."""
    refused = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"(TorchScript)", str(error))
    if refused:
        return (
            f"holds more than tensors ({refused[1].rstrip('.')}), and nothing else is loaded from a file; "
            "save the state dict alone: torch.save(model.state_dict(), path)"
        )
    return f"is broken, or not what its name says ({_first_line(error)})"


def _state_dict(path: Path, content: Any) -> StateDict:
    if isinstance(content, dict):
        content = next((content[key] for key in _NESTED if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content:
        raise DataError(f"train.model.weights: {path} holds no state dict, but {type(content).__name__}")
    strange = [
        str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if strange:
        raise DataError(
            f"train.model.weights: {path} holds no state dict: {', '.join(_listed('', strange))} "
            f"{'is' if len(strange) == 1 else 'are'} no tensor (looked under {', '.join(_NESTED)}, too)"
        )
    return content


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0].split(". ")[0][:200]
