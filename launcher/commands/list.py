"""`launcher list`: all jobs."""

from __future__ import annotations

import click

from launcher.commands.options import backend_of, backend_options, output_option

EXAMPLES = """\b
Examples:
  launcher list
  launcher list -o wide
  launcher list -o json | jq -r '.jobs[] | select(.state == "Failed") | .name'
"""


@click.command("list", epilog=EXAMPLES)
@output_option()
@backend_options
def command(*, output: str, backend: str | None, results_dir: str) -> None:
    """List all jobs, newest first."""
    from launcher.output import show_list

    statuses = backend_of(backend, results_dir).list()
    if not statuses and output in ("table", "wide"):
        click.echo("no jobs; start one with `launcher submit FILE`", err=True)
        return
    show_list(statuses, output)
