"""The command line: a group that imports a verb's module only when that verb runs."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Any, NoReturn

import click

from launcher import __version__
from launcher.errors import LauncherExit

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("launcher.commands.init", "Write a commented job.yaml to start from."),
    "validate": ("launcher.commands.validate", "Check a job file and report every mistake at once."),
    "plan": ("launcher.commands.plan", "Show how a job is split over pods and nodes."),
    "render": ("launcher.commands.render", "Print the Kubernetes objects that a submit creates."),
    "submit": ("launcher.commands.submit", "Train what FILE describes."),
    "list": ("launcher.commands.list", "List all jobs, newest first."),
    "status": ("launcher.commands.status", "Show where the job NAME stands."),
    "logs": ("launcher.commands.logs", "Print the logs of the newest attempt of the job NAME."),
    "wait": ("launcher.commands.wait", "Wait until the job NAME is over, and exit with its result."),
    "cancel": (
        "launcher.commands.cancel",
        "Stop the job NAME with a checkpoint; submitting its file again goes on from there.",
    ),
    "suspend": (
        "launcher.commands.suspend",
        "Stop the job NAME with a checkpoint and free its GPUs; `launcher resume` goes on.",
    ),
    "resume": (
        "launcher.commands.resume",
        "Go on with the suspended or cancelled job NAME from its last checkpoint, as it was submitted.",
    ),
    "delete": ("launcher.commands.delete", "Stop the job NAME if it runs, and forget it."),
    "results": (
        "launcher.commands.results",
        "Show the final metrics of the job NAME and where its files are; wide adds more metrics, intervals, classes.",
    ),
    "completion": ("launcher.commands.completion", "Print a script that completes commands in your shell."),
    "version": ("launcher.commands.version", "Print the launcher's version."),
}
"""Module and short help of each verb, so that ``--help`` imports none of them (a test compares)."""

ALIASES = {"ls": "list"}


class LazyGroup(click.Group):
    """A group whose commands are looked up in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All verbs, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a verb's module and return its command."""
        entry = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry[0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or suggest the nearest one."""
        name = args[0]
        if name not in COMMANDS and name not in ALIASES and not name.startswith("-"):
            from launcher.suggestions import did_you_mean

            verbs = ", ".join(COMMANDS)
            ctx.fail(f"no such command: {name}{did_you_mean(name, [*COMMANDS, *ALIASES])} (commands: {verbs})")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in COMMANDS.items()])


EXAMPLES = """\b
Examples:
  launcher init job.yaml                  write a job file that runs as it is
  launcher submit --follow job.yaml       train it, and watch
  launcher results digits                 its final metrics
"""


@click.command(cls=LazyGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Train PyTorch models from one job.yaml, on this machine or on a Kubernetes GPU cluster.

    Exit codes: 0 succeeded, 1 error, 2 usage or bad job file, 3 job failed, 4 not found, 5 does not fit, 6 backend
    unusable, 7 suspended or cancelled, 124 timed out, 130 interrupted.
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that `launcher.errors.LauncherExit` names."""
    gc.set_threshold(100_000)  # what a command imports lives to its end; searching it for garbage takes a tenth of it
    sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    try:
        result: Any = cli.main(args, prog_name="launcher", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return LauncherExit.INTERRUPTED
    return result if isinstance(result, int) else LauncherExit.SUCCEEDED
