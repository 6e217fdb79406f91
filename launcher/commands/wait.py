"""`launcher wait`: until a job is over."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, output_option, timeout_option
from launcher.commands.waiting import exit_code, explain_end, say_why_it_waits, wait_until_over

EXAMPLES = """\b
Examples:
  launcher wait digits
  launcher wait digits --timeout 1h30m && launcher results digits
"""


@click.command("wait", epilog=EXAMPLES)
@click.argument("name")
@timeout_option
@output_option()
@backend_options
@click.pass_context
def command(ctx: click.Context, /, *, name: str, timeout: float | None, output: str, where: Where) -> None:
    """Wait until the job NAME is over, and exit with its result.

    Exit codes: 0 succeeded, 3 failed, 7 suspended or cancelled, 124 timeout, 130 interrupted. The job itself is not
    touched by a timeout or by Ctrl-C.
    """
    from launcher.output import show_status

    status = wait_until_over(where.open(), name, timeout=timeout, show=say_why_it_waits())
    show_status(status, output)
    explain_end(status)
    ctx.exit(exit_code(status))
