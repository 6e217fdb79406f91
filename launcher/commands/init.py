"""``launcher init``."""

from __future__ import annotations

from pathlib import Path

import click

from launcher.errors import InvalidJob, LauncherError

STARTER = Path(__file__).with_name("starter.yaml")
# Inside an installed package, and in a checkout.
EXAMPLE_FOLDERS = (Path(__file__).parents[1] / "examples", Path(__file__).parents[2] / "examples")

EXAMPLES = """\b
Examples:
  launcher init
  launcher init fashion.yaml --example fashion-convnet
"""


@click.command("init", epilog=EXAMPLES)
@click.argument("file", type=click.Path(dir_okay=False), default="job.yaml")
@click.option("--example", metavar="NAME", help="Start from an example instead, such as fashion-convnet.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def command(file: str, example: str | None, force: bool) -> None:
    """Write a commented job.yaml to start from.

    The file runs as it is: it trains on data that needs no download. FILE is job.yaml by default.
    """
    text = (_example(example) if example else STARTER).read_text(encoding="utf-8")
    try:
        with Path(file).open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InvalidJob(f"{file} exists already; give another name, or --force to overwrite it") from None
    except OSError as error:
        raise LauncherError(f"{file}: cannot be written: {error.strerror}") from None
    click.echo(file)
    click.echo(f"Next: launcher submit --follow {file}", err=True)


def _example(name: str) -> Path:
    files = {path.stem: path for folder in EXAMPLE_FOLDERS for path in sorted(folder.glob("*.yaml"))}
    if name not in files:
        from launcher.suggestions import did_you_mean

        raise InvalidJob(f"--example: no example {name}{did_you_mean(name, list(files))} ({_known(list(files))})")
    return files[name]


def _known(names: list[str]) -> str:
    return f"examples: {', '.join(names)}" if names else "this installation carries none"
