"""`launcher results`: what a finished job has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.commands.options import Where, backend_options, output_option
from launcher.errors import JobNotFound, LauncherError

if TYPE_CHECKING:
    from launcher.backends.base import Backend

EXAMPLES = """\b
Examples:
  launcher results digits
  launcher results digits -o json | jq .summary.metrics.accuracy
  launcher results digits --fetch ./digits-results
"""


@click.command("results", epilog=EXAMPLES)
@click.argument("name")
@click.option(
    "--fetch",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Copy all its files to DIR instead, also of a job that is not finished.",
)
@output_option("table", "wide", "json", "yaml")
@backend_options
def command(*, name: str, fetch: Path | None, output: str, where: Where) -> None:
    """Show the final metrics of the job NAME and where its files are; wide adds a table of classes.

    Exits 4 when there are no results, also because the job is not finished.
    """
    from launcher.output import show_results

    chosen = where.open()
    if fetch is not None:
        _fetch(chosen, name, fetch)
        return
    results = chosen.results(name)
    if results.summary is None:
        raise JobNotFound(f"{name} has no results yet: {_standing(chosen, name)}\nits folder is {results.path}")
    show_results(name, results, output)


def _fetch(chosen: Backend, name: str, folder: Path) -> None:
    try:
        copied = chosen.fetch(name, folder)
    except OSError as error:
        raise LauncherError(f"{error.filename or folder}: {error.strerror or error}") from error
    click.echo(str(folder))
    click.echo(f"copied {copied.files} files, {copied.bytes:,} bytes", err=True)


def _standing(chosen: Backend, name: str) -> str:
    try:
        status = chosen.get(name)
    except JobNotFound:
        return "it was deleted before it succeeded; submit its file again to go on"
    if status.state.is_over:
        return f"it is {status.state}, and only a job that succeeded has them; submit its file again to go on"
    return f"it is {status.state}; `launcher wait {name}` waits for its end"
