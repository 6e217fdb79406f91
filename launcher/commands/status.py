"""`launcher status`: one job now."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, output_option
from launcher.commands.waiting import explain_end

EXAMPLES = """\b
Examples:
  launcher status digits
  launcher status digits -o json | jq .progress.loss
"""


@click.command("status", epilog=EXAMPLES)
@click.argument("name")
@output_option()
@backend_options
def command(*, name: str, output: str, where: Where) -> None:
    """Show where the job NAME stands.

    The exit code says whether the job was found (0, 4), not how it does; see `launcher wait` for that.
    """
    from launcher.output import show_status
    from launcher.progress import advice, describe

    status = where.open().get(name)
    show_status(status, output)
    if output != "table":
        return
    if status.state.is_over:
        explain_end(status)
    else:
        click.echo("\n".join(filter(None, [describe(status), advice(status)])), err=True)
