"""`launcher delete`: forget a job, not its results."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, grace_option
from launcher.errors import JobNotFound

EXAMPLES = """\b
Examples:
  launcher delete digits
"""


@click.command("delete", epilog=EXAMPLES)
@click.argument("name")
@grace_option
@backend_options
def command(*, name: str, grace: float, where: Where) -> None:
    """Stop the job NAME if it runs, and forget it. Its results stay.

    Where its results folder can be seen (local backend), a job that was deleted before is left as it is and the exit
    code is 0 as well; a cluster no longer knows it (exit 4).
    """
    chosen = where.open()
    known = True
    try:
        if not chosen.get(name).state.is_over:
            click.echo(f"stopping {name} (up to {grace:.0f} s to save)", err=True)
    except JobNotFound:
        known = False
    results = chosen.delete(name, grace_seconds=grace)  # only the backend can tell "deleted before" from "never there"
    click.echo(name)
    click.echo(f"{'' if known else f'{name} was deleted before; '}results stay in {results}", err=True)
