"""Paths in the pod, and the folders on this machine that stand for them."""

from pathlib import Path, PurePosixPath

from launcher.errors import InvalidJob
from launcher.job.spec import JobSpec, Volume, is_under
from trainer.config import Train, TrainConfig
from trainer.config.data import Pairs


def localize(spec: JobSpec, train: Train) -> Train:
    """The same training configuration with its paths as they are on this machine.

    Raises:
        InvalidJob: A volume has no folder here, or there is nothing at a path.
    """
    for field, path in train.paths.items():
        part, name = field.split(".")
        here = _here(spec, train, field, path)
        section = getattr(train, part).model_copy(update={name: str(here)})
        train = train.model_copy(update={part: section})
    return train


def _here(spec: JobSpec, train: TrainConfig, field: str, path: str) -> Path:
    volume = _volume_of(spec, path)
    here = _local_folder(volume, path) / PurePosixPath(path).relative_to(PurePosixPath(volume.mount))
    kind = "folder" if field == "data.path" and not isinstance(train.data, Pairs) else "file"
    if not (here.is_dir() if kind == "folder" else here.is_file()):
        raise InvalidJob(
            f"train.{field}: {path} is {here} on this machine (volume {volume.name}, local: {volume.local}), "
            f"and no such {kind} exists\nput it there, or correct `local:` or `train.{field}`"
        )
    return here


def _volume_of(spec: JobSpec, path: str) -> Volume:
    """The volume mounted deepest above ``path``; JobSpec has checked that there is one."""
    return max((volume for volume in spec.volumes if is_under(path, volume.mount)), key=lambda v: len(v.mount))


def _local_folder(volume: Volume, path: str) -> Path:
    if volume.local is None:
        raise InvalidJob(
            f"volumes.{volume.name}: has no `local:` folder, so {path} is unknown on this machine\n"
            f"add one to the volume, for example\n"
            f"  - {{name: {volume.name}, mount: {volume.mount}, local: ~/{volume.name}}}"
        )
    return Path(volume.local).expanduser().absolute()
