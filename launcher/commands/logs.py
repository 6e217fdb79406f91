"""`launcher logs`: what the ranks wrote."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options
from launcher.errors import LauncherExit

EXAMPLES = """\b
Examples:
  launcher logs digits --tail 20
  launcher logs -f digits
  launcher logs digits --rank 3
"""


@click.command("logs", epilog=EXAMPLES)
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over, also into its next attempts.")
@click.option("--rank", type=click.IntRange(min=0), help="Only this rank.  [default: all, each line with its rank]")
@click.option("--tail", type=click.IntRange(min=0), help="Only the last so many lines of each rank.  [default: all]")
@backend_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    name: str,
    follow: bool,
    rank: int | None,
    tail: int | None,
    where: Where,
) -> None:
    """Print the logs of the newest attempt of the job NAME."""
    chosen = where.open()
    status = chosen.get(name)
    prefixed = rank is None and status.ranks > 1
    silent = True
    try:
        for line in chosen.logs(name, follow=follow, rank=rank, tail=tail):
            silent = False
            bare = not prefixed and line.source.startswith("rank ")
            click.echo(line.text if bare else f"[{line.source}] {line.text}")
    except KeyboardInterrupt:
        click.echo(f"\nstopped following; this does not touch {name}", err=True)
        ctx.exit(LauncherExit.INTERRUPTED)
    if silent and tail != 0:
        wait = "" if follow or status.state.is_over else "; wait for them with -f"
        click.echo(f"the ranks of {name} wrote nothing so far ({status.state}){wait}", err=True)
