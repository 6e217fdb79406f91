"""`launcher cancel`: stop a job, keeping what it has learnt."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, grace_option
from launcher.commands.stopping import stop

EXAMPLES = """\b
Examples:
  launcher cancel digits
  launcher cancel digits --grace 5m
"""


@click.command("cancel", epilog=EXAMPLES)
@click.argument("name")
@grace_option
@backend_options
def command(*, name: str, grace: float, where: Where) -> None:
    """Stop the job NAME with a checkpoint; submitting its file again goes on from there.

    A job that is over already is left as it is, and the exit code is 0 as well.
    """
    stop(where, name, verb="cancel", grace=grace, then="submit its file again to go on")
