"""Paths in the pod, and the folders on this machine that stand for them."""

from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from launcher.errors import InvalidJob
from launcher.job.spec import JobSpec, Volume, is_under
from trainer.config import ImageClassification, Train, TrainConfig
from trainer.config.base import Config
from trainer.config.data import Pairs

_Part = TypeVar("_Part", bound=Config)


def localize(spec: JobSpec, train: Train) -> Train:
    """The same training configuration with its paths as they are on this machine.

    So are the arguments of code of the user's own that lie below a mount; nothing need be at those.

    Raises:
        InvalidJob: A volume has no folder here, or there is nothing at a path.
    """
    for field, path in train.paths.items():
        train = _replaced(train, field, str(_here(spec, train, field, path)))
    if isinstance(train, ImageClassification):
        for field, imported in train.imported.items():
            for name in ("args", "test_args"):
                if arguments := getattr(imported, name, None):
                    train = _replaced(train, f"{field}.{name}", _arguments_here(spec, arguments))
    return train


def with_folders_from(spec: JobSpec, directory: Path) -> JobSpec:
    """The spec with its volumes' local folders made absolute; a relative one begins at ``directory``."""
    folders = [volume.local and str(directory / Path(volume.local).expanduser()) for volume in spec.volumes]
    volumes = [volume.model_copy(update={"local": one}) for volume, one in zip(spec.volumes, folders, strict=True)]
    return spec.model_copy(update={"volumes": tuple(volumes)})


def _replaced(config: _Part, field: str, value: Any) -> _Part:
    """A copy of ``config`` with another value at ``field``, such as data.path."""
    name, _, rest = field.partition(".")
    return config.model_copy(update={name: _replaced(getattr(config, name), rest, value) if rest else value})


def _arguments_here(spec: JobSpec, value: Any) -> Any:
    """Arguments as JSON has them, with paths below a mount as they are here."""
    if isinstance(value, dict):
        return {key: _arguments_here(spec, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_arguments_here(spec, inner) for inner in value]
    here = on_this_machine(spec, value) if isinstance(value, str) else None
    return value if here is None else str(here)


def _here(spec: JobSpec, train: TrainConfig, field: str, path: str) -> Path:
    volume = _volume_of(spec, path)
    here = _below(volume, path)
    kind = "folder" if field in ("data.path", "import_from") and not isinstance(train.data, Pairs) else "file"
    if not (here.is_dir() if kind == "folder" else here.is_file()):
        raise InvalidJob(
            f"train.{field}: {path} is {here} on this machine (volume {volume.name}, local: {volume.local}), "
            f"and no such {kind} exists\nput it there, or correct `local:` or `train.{field}`"
        )
    return here


def _volume_of(spec: JobSpec, path: str) -> Volume:
    """The volume mounted deepest above ``path``; there must be one, which JobSpec has checked of a training's paths."""
    return max((volume for volume in spec.volumes if is_under(path, volume.mount)), key=lambda v: len(v.mount))


def on_this_machine(spec: JobSpec, path: str) -> Path | None:
    """Where a path in the pod is here; None where no volume holds it. Nothing need be there.

    Raises:
        InvalidJob: The volume has no folder here.
    """
    return _below(_volume_of(spec, path), path) if any(is_under(path, one.mount) for one in spec.volumes) else None


def _below(volume: Volume, path: str) -> Path:
    return _local_folder(volume, path) / PurePosixPath(path).relative_to(PurePosixPath(volume.mount))


def _local_folder(volume: Volume, path: str) -> Path:
    if volume.local is None:
        raise InvalidJob(
            f"volumes.{volume.name}: has no `local:` folder, so {path} is unknown on this machine\n"
            f"add one to the volume, for example\n"
            f"  - {{name: {volume.name}, mount: {volume.mount}, local: ~/{volume.name}}}"
        )
    return Path(volume.local).expanduser().absolute()
