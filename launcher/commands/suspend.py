"""`launcher suspend`: stop a job for now."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, grace_option
from launcher.commands.stopping import stop

EXAMPLES = """\b
Examples:
  launcher suspend digits
  launcher resume digits
"""


@click.command("suspend", epilog=EXAMPLES)
@click.argument("name")
@grace_option
@backend_options
def command(*, name: str, grace: float, where: Where) -> None:
    """Stop the job NAME with a checkpoint and free its GPUs; `launcher resume` goes on.

    A job that is over already is left as it is, and the exit code is 0 as well.
    """
    stop(where, name, verb="suspend", grace=grace, then=f"go on with `launcher resume {name}`")
