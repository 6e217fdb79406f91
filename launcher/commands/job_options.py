"""The argument and options of every verb that reads a job file, and the reading itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from launcher.errors import InvalidJob

if TYPE_CHECKING:
    from launcher.job.spec import JobSpec, NodeShape

F = TypeVar("F", bound=Callable[..., Any])

_SHAPE = re.compile(r"([1-9][0-9]{0,5})x([0-9]{1,4})")


def _split_assignments(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for assignment in values:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise click.BadParameter(f"{assignment!r} has no '='; write KEY=VALUE, such as train.epochs=3")
        pairs.append((key, value))
    return pairs


_OPTIONS = (
    click.argument("file", type=click.Path(dir_okay=False, allow_dash=True)),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_split_assignments,
        help="Override one field of the file, such as train.epochs=3 or train.optimizer.lr=1e-3 (repeatable).",
    ),
    click.option("--gpus", type=int, metavar="N", help="GPUs over the whole job; 0 trains on CPUs."),
    click.option("--gpus-per-node", metavar="N|auto", help="GPUs of each pod; auto takes as few pods as hold them."),
    click.option("--name", metavar="NAME", help="Name of the job."),
    click.option("--image", metavar="IMAGE", help="Container image."),
)


def job_options(command: F) -> F:
    """Add FILE, --set, --gpus, --gpus-per-node, --name and --image to a command function.

    The function receives ``file, overrides, gpus, gpus_per_node, name, image`` and passes them on to `read_job`.
    """
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_job(
    file: str,
    *,
    overrides: Sequence[tuple[str, str]] = (),
    gpus: int | None = None,
    gpus_per_node: str | None = None,
    name: str | None = None,
    image: str | None = None,
) -> JobSpec:
    """Read a job file (``-`` is stdin), apply the flags over it and check everything.

    Raises:
        InvalidJob: The file cannot be read, or holds errors; the message has a line for each.
    """
    from launcher.job.load import load_job

    return load_job(
        _text(file),
        filename=display_name(file),
        overrides=overrides,
        gpus=gpus,
        gpus_per_node=_count(gpus_per_node) if gpus_per_node else gpus_per_node,
        name=name,
        image=image,
    )


def _parse_shapes(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> list[tuple[int, int]]:
    matches = [(value, _SHAPE.fullmatch(value)) for value in values]
    for value, match in matches:
        if match is None:
            raise click.BadParameter(f"{value!r} is not COUNTxGPUS, such as 4x8 for four nodes of 8 GPUs")
    return [(int(match[1]), int(match[2])) for _, match in matches if match]


def nodes_option(command: F) -> F:
    """Add --nodes to a command function, which receives ``shapes`` and passes them on to `node_shapes`."""
    return click.option(
        "--nodes",
        "shapes",
        multiple=True,
        metavar="COUNTxGPUS",
        callback=_parse_shapes,
        help="Nodes to plan for, such as 4x8 (repeatable); wins over the file's own nodes.",
    )(command)


def node_shapes(spec: JobSpec, shapes: Sequence[tuple[int, int]]) -> list[NodeShape]:
    """The nodes to plan for; says so on stderr when there are none, neither in the options nor in the file."""
    from launcher.job.spec import NodeShape

    nodes = [NodeShape(count=count, gpus=gpus) for count, gpus in shapes] or list(spec.nodes)
    if not nodes:
        click.echo("no node shapes are given (--nodes 4x8, or nodes in the job file): assuming that it fits", err=True)
    return nodes


def display_name(file: str) -> str:
    """How messages call the file: its path as given, or ``stdin``."""
    return "stdin" if file == "-" else file


def _count(text: str) -> int | str:
    """A number where the text is one; the schema judges anything else."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _text(file: str) -> str:
    from launcher.job.load import MAX_BYTES

    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidJob(f"{file}: no such file; `launcher init {file}` writes one to start from") from None
    except OSError as error:
        raise InvalidJob(f"{file}: cannot be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidJob(f"{display_name(file)}: not a UTF-8 text file (byte {error.start})") from None
