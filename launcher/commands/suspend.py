"""`launcher suspend`: stop a job for now."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, grace_option

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
    chosen = where.open()
    before = chosen.get(name)
    if before.state.is_over:
        click.echo(f"{name} is {before.state} already; nothing to suspend", err=True)
        click.echo(name)
        return
    click.echo(f"stopping {name} (up to {grace:.0f} s to save)", err=True)
    status = chosen.suspend(name, grace_seconds=grace)
    click.echo(name)
    reason = f" ({status.reason})" if status.reason else ""
    click.echo(f"{name} is {status.state}{reason}; go on with `launcher resume {name}`", err=True)
