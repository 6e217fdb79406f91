"""``launcher version``."""

import click

from launcher import __version__

EXAMPLES = """\b
Examples:
  launcher version
  launcher version -o json
"""


@click.command("version", epilog=EXAMPLES)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the answer.")
def command(output: str) -> None:
    """Print the launcher's version."""
    if output == "text":
        click.echo(f"launcher {__version__}")
        return
    import json
    import platform

    click.echo(json.dumps({"schemaVersion": 1, "launcher": __version__, "python": platform.python_version()}))
