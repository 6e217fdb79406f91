"""Paths in the pod, and the folders on this machine that stand for them."""

from pathlib import Path, PurePosixPath

from launcher.errors import InvalidJob
from launcher.job.spec import JobSpec, Volume, is_under
from trainer.config import TrainConfig


def localize(spec: JobSpec, train: TrainConfig) -> TrainConfig:
    """The same training configuration with its data path as it is on this machine.

    Raises:
        InvalidJob: The volume has no folder here, or there is nothing at the path.
    """
    path = getattr(train.data, "path", None)
    if path is None:
        return train
    volume = _volume_of(spec, path)
    here = _local_folder(volume, path) / PurePosixPath(path).relative_to(PurePosixPath(volume.mount))
    if not here.is_dir():
        raise InvalidJob(
            f"train.data.path: {path} is {here} on this machine (volume {volume.name}, local: {volume.local}), "
            f"and no such folder exists\nput the data there, or correct `local:` or `train.data.path`"
        )
    return train.model_copy(update={"data": train.data.model_copy(update={"path": str(here)})})


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
