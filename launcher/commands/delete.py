"""`launcher delete`: forget a job, not its results."""

from __future__ import annotations

import click

from launcher.commands.options import backend_of, backend_options, grace_option
from launcher.errors import JobNotFound

EXAMPLES = """\b
Examples:
  launcher delete digits
"""


@click.command("delete", epilog=EXAMPLES)
@click.argument("name")
@grace_option
@backend_options
def command(*, name: str, grace: float, backend: str | None, results_dir: str) -> None:
    """Stop the job NAME if it runs, and forget it. Its results stay.

    A job that was deleted before is left as it is, and the exit code is 0 as well.
    """
    chosen = backend_of(backend, results_dir)
    try:
        known = not chosen.get(name).state.is_over
        said = f"stopping {name} (up to {grace:.0f} s to save)" if known else None
    except JobNotFound:
        said = f"{name} was deleted before"
        chosen.results(name)  # a name that never was a job is an error all the same
    if said:
        click.echo(said, err=True)
    chosen.delete(name, grace_seconds=grace)
    click.echo(name)
    click.echo(f"results stay in {chosen.results(name).path}", err=True)
