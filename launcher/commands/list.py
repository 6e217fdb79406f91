"""`launcher list`: all jobs."""

from __future__ import annotations

import click

from launcher.commands.options import Where, backend_options, output_option

EXAMPLES = """\b
Examples:
  launcher list
  launcher list -o wide
  launcher list -A
  launcher list -o json | jq -r '.jobs[] | select(.state == "Failed") | .name'
"""


@click.command("list", epilog=EXAMPLES)
@click.option("-A", "--all-namespaces", is_flag=True, help="Jobs of all namespaces of the cluster.")
@output_option()
@backend_options
def command(*, all_namespaces: bool, output: str, where: Where) -> None:
    """List all jobs, newest first."""
    from launcher.output import show_list

    statuses = where.open().list(all_namespaces=all_namespaces)
    if not statuses and output in ("table", "wide"):
        click.echo("no jobs; start one with `launcher submit FILE`", err=True)
        return
    show_list(statuses, output, namespaces=all_namespaces)
