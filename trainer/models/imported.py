"""A network of the user's own, and whether it is one that can be trained here."""

import torch
from torch import Tensor, nn

from trainer.config.imports import ImportedModel
from trainer.data.images import Shape
from trainer.exits import ConfigError
from trainer.own_code.imports import prepare_imported
from trainer.own_code.kind import kind_of

FIELD = "train.model"
SUPPLIED = ("input_shape", "classes")
_IMAGES = 2


def build_imported_model(config: ImportedModel, input_shape: Shape, classes: int) -> nn.Module:
    """The user's network, once it has shown with two images of zeros that it gives logits.

    Raises:
        ConfigError: It cannot be imported or called with these arguments, is no module, holds something that is no
            tensor, or gives something other than float [B, classes].
    """
    supplied = dict(zip(SUPPLIED, (input_shape, classes), strict=True))
    model = prepare_imported(config, FIELD, supplied)()
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{FIELD}.import: {config.import_} gave {kind_of(model)}; expected a torch.nn.Module")
    _check_output(config, model, input_shape, classes)
    _check_state(config, model)
    return model.train()


@torch.no_grad()
def _check_output(config: ImportedModel, model: nn.Module, input_shape: Shape, classes: int) -> None:
    """In evaluation mode, so that no statistics move; layers that take their size from the first input take it here."""
    logits = model.eval()(torch.zeros(_IMAGES, *input_shape))
    wanted = [_IMAGES, classes]
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or list(logits.shape) != wanted:
        raise ConfigError(
            f"{FIELD}.import: {config.import_} gave {kind_of(logits)} for images float32 "
            f"{[_IMAGES, *input_shape]}; expected logits float {wanted}, one for each class"
        )


def _check_state(config: ImportedModel, model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{FIELD}.import: the state of {config.import_} holds {name}, {kind_of(value)}; "
                "a checkpoint holds tensors"
            )
