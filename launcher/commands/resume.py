"""`launcher resume`: go on with a job that was stopped."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, output_option

EXAMPLES = """\b
Examples:
  launcher resume digits
  launcher resume digits -o json
"""


@click.command("resume", epilog=EXAMPLES)
@click.argument("name")
@output_option()
@backend_options
def command(*, name: str, output: str, where: Where) -> None:
    """Go on with the suspended or cancelled job NAME from its last checkpoint, as it was submitted.

    A job that runs is left alone, and the exit code is 0 as well. To change something, submit its file instead.
    """
    from launcher.output import show_submission

    submission = where.open().resume(name)
    show_submission(submission, output)
    click.echo(f"next: `launcher logs -f {name}`, `launcher wait {name}`", err=True)
