"""Which layers of a network do not learn, epoch by epoch (Yosinski et al., 2014; Howard and Ruder, 2018)."""

import difflib
from dataclasses import dataclass

from torch import nn

from trainer.config.model import TransferConfig
from trainer.exits import ConfigError
from trainer.models.head import head_name

NONE, ALL = "none", "all"


@dataclass(frozen=True)
class Stage:
    """What is frozen from an epoch on."""

    epoch: int
    """The first epoch to which it applies, from 0."""
    boundary: str
    """none, all, or the last frozen layer, as the configuration names it."""
    modules: tuple[str, ...] = ()
    """Roots of the frozen subtrees."""
    parameters: frozenset[str] = frozenset()
    """Names of the frozen parameters."""


class Freezing:
    """Keeps the frozen part of a network as it is: no gradients, and its layers as in evaluation.

    A layer freezes itself and everything that was registered before it, depth first; of the modules that it is part of,
    it freezes the parameters of their own (a vision transformer's class token). ``all`` freezes everything but the
    head. What is not frozen at first is never touched.
    """

    def __init__(self, model: nn.Module, stages: tuple[Stage, ...]) -> None:
        self._model = model
        self._stages = stages
        self._modules: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: object, model: nn.Module) -> "Freezing":
        """The stages of ``config``, the configuration of ``model``; nothing is frozen by one that cannot freeze.

        Raises:
            ConfigError: A layer is unknown or includes the head, or a later stage freezes more than an earlier one.
        """
        if not isinstance(config, TransferConfig):
            return cls(model, (Stage(0, NONE),))
        stages = [_stage(model, 0, config.freeze, "train.model.freeze")]
        for index, entry in enumerate(config.unfreeze):
            field = f"train.model.unfreeze.{index}.freeze"
            stages.append(_stage(model, entry.epoch - 1, entry.freeze, field))
            _check_only_unfreezes(stages[-2], stages[-1], field)
        return cls(model, tuple(stages))

    def stage(self, epoch0: int) -> Stage:
        """What applies to an epoch, counted from 0; a function of the epoch alone, so resuming needs no state."""
        return [stage for stage in self._stages if stage.epoch <= epoch0][-1]

    def enter(self, epoch0: int) -> bool:
        """Freeze what this epoch, counted from 0, asks for; call ``hold`` once the network is in training mode.

        Returns:
            Whether any parameter was frozen or unfrozen; then an optimizer and DistributedDataParallel made before are
            out of date.
        """
        stage = self.stage(epoch0)
        self._modules = stage.modules
        changed = False
        for name, parameter in self._model.named_parameters():
            learns = name not in stage.parameters
            if name in self._stages[0].parameters and parameter.requires_grad != learns:
                parameter.requires_grad_(learns)
                changed = True
        return changed

    def hold(self) -> None:
        """Put frozen layers into evaluation mode again, after ``network.train()`` set all of them to training.

        So their BatchNorm statistics stay, and nothing in them is dropped.
        """
        for name in self._modules:
            self._model.get_submodule(name).eval()


def _stage(model: nn.Module, epoch: int, boundary: str, field: str) -> Stage:
    if boundary == NONE:
        return Stage(epoch, NONE)
    head = head_name(model)
    if boundary != ALL:
        _check_layer(model, boundary, head, field)
    last = head if boundary == ALL else boundary
    modules = [*_siblings(model, last, after=boundary == ALL), *([] if boundary == ALL else [last])]
    inside = tuple(f"{name}." for name in modules)
    own = {name for owner in _owners(last) for name in _own_parameters(model, owner)}
    parameters = {name for name, _ in model.named_parameters() if name.startswith(inside)} | own
    return Stage(epoch, boundary, tuple(modules), frozenset(parameters))


def _owners(layer: str) -> list[str]:
    """Names of the modules that ``layer`` is part of, from the network itself ("") inwards."""
    parts = layer.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts))]


def _siblings(model: nn.Module, layer: str, *, after: bool) -> list[str]:
    """Modules beside ``layer`` and beside those it is part of: registered before them, or ``after``, as well."""
    path = [*_owners(layer)[1:], layer]
    found = []
    for owner, step in zip(_owners(layer), path, strict=True):
        before = True
        for child, _ in model.get_submodule(owner).named_children():
            name = f"{owner}.{child}" if owner else child
            before = before and name != step
            if before or (after and name != step):
                found.append(name)
    return found


def _own_parameters(model: nn.Module, owner: str) -> list[str]:
    parameters = model.get_submodule(owner).named_parameters(recurse=False)
    return [f"{owner}.{name}" if owner else name for name, _ in parameters]


def _check_layer(model: nn.Module, layer: str, head: str, field: str) -> None:
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        close = difflib.get_close_matches(layer, [NONE, ALL, *names], n=3)
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        allowed = ", ".join([NONE, ALL, *_layers(model, head)])
        raise ConfigError(f"{field}: unknown layer {layer!r}{meant} (allowed {allowed}, or any layer inside these)")
    if names.index(layer) >= names.index(head) or head.startswith(f"{layer}."):
        raise ConfigError(
            f"{field}: {layer} includes the classifier ({head}), and something must learn; "
            f"{ALL} freezes everything but the classifier"
        )


def _layers(model: nn.Module, head: str) -> list[str]:
    """Layers worth naming: children and, of containers, theirs; only those with parameters that leave the head out."""
    found = []
    for name, child in model.named_children():
        below = child.named_children() if isinstance(child, nn.Sequential | nn.ModuleList) else ()
        for layer, module in [(name, child), *((f"{name}.{part}", module) for part, module in below)]:
            holds_head = f"{head}.".startswith(f"{layer}.")
            if not holds_head and next(module.parameters(), None) is not None:
                found.append(layer)
    return found


def _check_only_unfreezes(earlier: Stage, later: Stage, field: str) -> None:
    again = later.parameters - earlier.parameters
    if again:
        raise ConfigError(
            f"{field}: {later.boundary} freezes what {earlier.boundary} lets learn before it, "
            f"such as {min(again)}; a later stage may only freeze less"
        )
