"""Using a trained network from its checkpoint alone: no training configuration, no pickle, nothing that runs code.

A network of the user's own is the exception: its checkpoint names the code, which runs only where the user says so.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from trainer.config.contract import BEST_FILE, CHECKPOINTS_DIR, FOLDS_DIR
from trainer.config.imports import ImportedModel
from trainer.config.network import ImageNetwork, Network, SequenceNetwork
from trainer.exits import ConfigError, DataError, StorageError
from trainer.output.checkpoint import STATE, Checkpointer, Tensors
from trainer.own_code.imports import allow_imports, changed, sources
from trainer.tasks.image_predictor import ImagePredictor
from trainer.tasks.predictor import Prediction, Predictor
from trainer.tasks.sequence_predictor import SequencePredictor

log = logging.getLogger(__name__)

_NETWORK: TypeAdapter[ImageNetwork | SequenceNetwork] = TypeAdapter(Network)


@dataclass(frozen=True)
class Trained:
    """A network that is ready to answer."""

    checkpoint: str
    """Name of the checkpoint's folder."""
    task: str
    """What kind of problem it solves."""
    predictor: Predictor


def load_trained(folder: Path, *, import_from: Path | None = None, packages: Sequence[str] = ()) -> Trained:
    """Load the network of a results folder (its best checkpoint), or of one checkpoint's folder.

    Everything read is data: state.json is checked against a schema, tensors come from safetensors files, and both are
    compared with each other before any of it is used.

    Args:
        folder: Results folder, or that of a checkpoint.
        import_from: Folder whose code a network of the user's own may use.
        packages: Installed packages whose code it may use.

    Raises:
        StorageError: There is no checkpoint, or it is damaged.
        ConfigError: It is whole, and not what the trainer writes; or it names code that was not allowed.
    """
    checkpoint = _checkpoint_folder(folder)
    saved = Checkpointer.read(checkpoint)
    network = _network(checkpoint, saved.state)
    if isinstance(network.model, ImportedModel):
        _allow(network.model, checkpoint, import_from, packages)
    predictor = _build(network, checkpoint, saved.tensors.get("model", {}))
    return Trained(checkpoint.name, network.task, predictor)


def _checkpoint_folder(folder: Path) -> Path:
    if (folder / STATE).is_file():
        return folder
    try:
        name = json.loads((folder / BEST_FILE).read_text())["checkpoint"]
    except OSError as error:
        if (folder / FOLDS_DIR).is_dir():
            raise StorageError(
                f"{folder} holds a cross-validation; give one of its folds: {folder / FOLDS_DIR / '0'}"
            ) from error
        raise StorageError(
            f"no checkpoint in {folder}: {error.strerror} ({BEST_FILE}); give a results folder or a step-* folder"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{folder / BEST_FILE}: damaged ({error})") from error
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise ConfigError(f"{folder / BEST_FILE}: {name!r} is not the name of a checkpoint")
    return folder / CHECKPOINTS_DIR / name


def _network(checkpoint: Path, state: dict[str, Any]) -> ImageNetwork | SequenceNetwork:
    try:
        return _NETWORK.validate_json(json.dumps(state["network"]))
    except KeyError as error:
        raise ConfigError(f"{checkpoint}: says nothing of its network (an older trainer's)") from error
    except ValidationError as error:
        raise ConfigError(f"{checkpoint / STATE}: network: {error}") from error


def _build(network: ImageNetwork | SequenceNetwork, checkpoint: Path, tensors: Tensors) -> Predictor:
    kind: Callable[[Any], ImagePredictor | SequencePredictor] = (
        ImagePredictor if isinstance(network, ImageNetwork) else SequencePredictor
    )
    if not isinstance(network.model, ImportedModel):  # the user's code, once trusted, need not work without memory
        with torch.device("meta"):  # sizes without memory: what is promised may be larger than this machine
            _check_tensors(kind(network).model, checkpoint, tensors)
    predictor = kind(network)
    _check_tensors(predictor.model, checkpoint, tensors)
    predictor.model.load_state_dict(tensors)
    if isinstance(network, ImageNetwork) and (names := changed(network.code, sources())):
        log.warning("code of your own has changed since the network was trained: %s", ", ".join(names))
    return predictor


def _allow(model: ImportedModel, checkpoint: Path, import_from: Path | None, packages: Sequence[str]) -> None:
    """Let the code that a checkpoint names run where the user has said so."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in model.args.items())
    call = f"{model.import_}({arguments})"
    if import_from is None and not packages:
        package = model.import_.partition(":")[0].partition(".")[0]
        raise ConfigError(
            f"{checkpoint}: its network is code, {call}, which using it would run\nif you trust this checkpoint, say "
            f"where the code is: --import-from DIR, or --allow-import {package} where that is installed"
        )
    try:
        allow_imports(import_from, packages=packages)
    except DataError as error:
        raise ConfigError(f"--import-from: {error}") from error
    log.info("%s names its network: %s", checkpoint, call)


def _check_tensors(model: nn.Module, checkpoint: Path, tensors: Tensors) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        name = wrong[0]
        raise ConfigError(
            f"{checkpoint}: its tensors are not those of its network ({len(wrong)} differ; the first is {name}: "
            f"{found.get(name, 'missing')}, expected {expected.get(name, 'none')})"
        )


def predictions_text(predictions: list[Prediction]) -> str:
    """A table for a terminal."""
    rows = [("SAMPLE", "PREDICTED", "PROBABILITY", "NEXT"), *map(_row, predictions)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])).rstrip()
        for row in rows
    )


def _row(prediction: Prediction) -> tuple[str, str, str, str]:
    if prediction.error is not None:
        return _shown(prediction.sample), "-", "-", _shown(prediction.error)
    following = ", ".join(f"{_shown(answer)} {probability:.4f}" for answer, probability in prediction.alternatives)
    return _shown(prediction.sample), _shown(prediction.predicted or ""), f"{prediction.probability:.4f}", following


def _shown(text: str) -> str:
    """Text that cannot steer a terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def predictions_json(trained: Trained, predictions: list[Prediction]) -> str:
    """The same as JSON."""
    return json.dumps(
        {
            "schemaVersion": 1,
            "task": trained.task,
            "checkpoint": trained.checkpoint,
            "predictions": [
                {
                    "sample": prediction.sample,
                    "predicted": prediction.predicted,
                    "probability": prediction.probability,
                    "alternatives": [
                        {"predicted": answer, "probability": probability}
                        for answer, probability in prediction.alternatives
                    ],
                    "error": prediction.error,
                }
                for prediction in predictions
            ],
        },
        indent=2,
        ensure_ascii=False,
    )
