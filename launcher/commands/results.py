"""`launcher results`: what a finished job has learnt."""

from __future__ import annotations

from contextlib import suppress
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
  launcher results digits --open
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
@click.option("--open", "show", is_flag=True, help="Open its report in a browser; the answer is the path of the page.")
@output_option("table", "wide", "json", "yaml")
@backend_options
def command(*, name: str, fetch: Path | None, show: bool, output: str, where: Where) -> None:
    """Show the final metrics of the job NAME and where its files are; wide adds more metrics, intervals, classes.

    Exits 4 when there are no results, also because the job is not finished.
    """
    from launcher.output import show_results

    if show and fetch is not None:
        raise click.UsageError("--open and --fetch exclude each other: the fetched folder holds report.html, too")
    chosen = where.open()
    if fetch is not None:
        _fetch(chosen, name, fetch)
        return
    if show:
        _open(chosen, name)
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


def _open(chosen: Backend, name: str) -> None:
    """Show report.html; without a browser its path is all there is."""
    from launcher.browser import open_page
    from trainer.config.contract import REPORT_FILE

    page = chosen.local_copy(name, REPORT_FILE)
    if page is None:
        raise JobNotFound(_why_no_report(chosen, name))
    with suppress(JobNotFound):  # deleted: its results stay
        if not (status := chosen.get(name)).state.is_over:
            click.echo(f"{name} is {status.state} again: this is the report of its earlier end", err=True)
    click.echo(str(page))
    if not open_page(page):
        click.echo("no browser to open it in here: open that file yourself", err=True)


def _why_no_report(chosen: Backend, name: str) -> str:
    results = chosen.results(name)
    if results.summary is not None:
        why = (
            "a script of your own writes none; in its folder (on a cluster: after `--fetch DIR`) "
            "`python -m trainer report DIR` makes one"
        )
    else:
        why = _standing(chosen, name)
    there = sorted({path.partition("/")[0] + "/" * ("/" in path) for path in results.files})
    return f"{name} has no report yet: {why}\nits folder is {results.path}; it holds {', '.join(there) or 'nothing'}"


def _standing(chosen: Backend, name: str) -> str:
    try:
        status = chosen.get(name)
    except JobNotFound:
        return "it was deleted before it succeeded; submit its file again to go on"
    if status.state.is_over:
        return f"it is {status.state}, and only a job that succeeded has them; submit its file again to go on"
    return f"it is {status.state}; `launcher wait {name}` waits for its end"
