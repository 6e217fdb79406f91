"""A `command:` as it runs on this machine: the script is found, and paths below a mount become those of its folder."""

import importlib.machinery
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.backends.local.volumes import on_this_machine
from launcher.errors import InvalidJob
from launcher.job.spec import JobSpec


def localize_command(spec: JobSpec, directory: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The command with its paths as they are here.

    An argument is a path where the whole of it, or what follows the = of an --option=..., lies below a mount.

    Args:
        spec: A job with a command.
        directory: Where a relative path of the script starts, as in the working directory of an image.
        environment: The job's own variables.

    Raises:
        InvalidJob: There is no such script or module, or a path's volume has no folder here.
    """
    script, *arguments = spec.command or ()
    if script == "-m":
        module, *arguments = arguments
        _check_module(module, directory, environment)
        return (script, module, *(_argument(spec, text) for text in arguments))
    return (str(_script(spec, script, directory)), *(_argument(spec, text) for text in arguments))


def _script(spec: JobSpec, script: str, directory: Path) -> Path:
    here = on_this_machine(spec, script) or directory / script
    if not here.is_file():
        where = "" if str(here) == script else f"{script} is {here} on this machine, and "
        raise InvalidJob(
            f"command.0: {where}there is no file {here.name if where else script}\n"
            "give a Python script; a relative path starts where you submit from, or in the image's working directory"
        )
    return here


def _check_module(module: str, directory: Path, environment: Mapping[str, str]) -> None:
    """Only its package is looked for: what is inside it can be found out by importing the package alone."""
    package = module.partition(".")[0]
    folders = [str(directory), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]
    if package not in sys.builtin_module_names and importlib.machinery.PathFinder.find_spec(package, folders) is None:
        raise InvalidJob(
            f"command.1: there is no module {package} on this machine\n"
            "it is looked for where you submit from, and among what is installed"
        )


def _argument(spec: JobSpec, text: str) -> str:
    option, equals, value = text.partition("=") if text.startswith("-") else ("", "", text)
    here = on_this_machine(spec, value)
    return text if here is None else f"{option}{equals}{here}"
