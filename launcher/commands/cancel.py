"""`launcher cancel`: stop a job, keeping what it has learnt."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, grace_option

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
    chosen = where.open()
    before = chosen.get(name)
    if before.state.is_over:
        click.echo(f"{name} is {before.state} already; nothing to cancel", err=True)
        click.echo(name)
        return
    click.echo(f"stopping {name} (up to {grace:.0f} s to save)", err=True)
    status = chosen.cancel(name, grace_seconds=grace)
    click.echo(name)
    reason = f" ({status.reason})" if status.reason else ""
    click.echo(f"{name} is {status.state}{reason}; submit its file again to go on", err=True)
