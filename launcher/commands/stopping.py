"""What cancel and suspend have in common: stop a job with a checkpoint, unless it is over."""

from __future__ import annotations

from typing import Literal

import click

from launcher.commands.options import Where


def stop(where: Where, name: str, *, verb: Literal["cancel", "suspend"], grace: float, then: str) -> None:
    """Stop the job ``name`` and say how to go on (``then``); one that is over is left as it is."""
    chosen = where.open()
    before = chosen.get(name)
    if before.state.is_over:
        click.echo(f"{name} is {before.state} already; nothing to {verb}", err=True)
        click.echo(name)
        return
    click.echo(f"stopping {name} (up to {grace:.0f} s to save)", err=True)
    status = (chosen.cancel if verb == "cancel" else chosen.suspend)(name, grace_seconds=grace)
    click.echo(name)
    reason = f" ({status.reason})" if status.reason else ""
    click.echo(f"{name} is {status.state}{reason}; {then}", err=True)
