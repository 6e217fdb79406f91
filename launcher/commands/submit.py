"""`launcher submit`: start a job, or go on with it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from launcher.commands.job_options import job_options, read_job
from launcher.commands.options import Where, backend_options, output_option, timeout_option
from launcher.commands.waiting import exit_code, explain_end, say_why_it_waits, wait_until_over
from launcher.errors import LauncherError

if TYPE_CHECKING:
    from launcher.backends.base import Backend, Submission

EXAMPLES = """\b
Examples:
  launcher submit job.yaml
  launcher submit --gpus 8 --follow job.yaml
  launcher submit job.yaml --set train.epochs=20 --wait -o json
"""


@click.command("submit", epilog=EXAMPLES)
@job_options
@click.option("--follow", is_flag=True, help="Show progress until the job is over, then its results.")
@click.option("--wait", "wait_", is_flag=True, help="Wait until the job is over, then show its results.")
@timeout_option
@click.option("--fresh", is_flag=True, help="Set an earlier results folder of this name aside and start anew.")
@output_option()
@backend_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    follow: bool,
    wait_: bool,
    timeout: float | None,
    fresh: bool,
    output: str,
    where: Where,
    **job: Any,
) -> None:
    """Train what FILE describes.

    Submitting the same file again is safe: a running job is left alone, one that stopped or failed goes on from its
    last checkpoint, one that succeeded is done (more epochs continue it). With --follow or --wait the exit code is
    the job's: 0 succeeded, 3 failed, 7 suspended or cancelled. Ctrl-C leaves the job running.
    """
    if timeout is not None and not (follow or wait_):
        raise click.UsageError("--timeout needs --follow or --wait")
    spec = read_job(**job)
    chosen = where.open(announce=True)
    submission = chosen.submit(spec, chosen.place(spec), fresh=fresh)
    if follow or wait_:
        ctx.exit(_see_to_the_end(chosen, submission, show_progress=follow, timeout=timeout, output=output))
    _report(submission, output)


def _report(submission: Submission, output: str) -> None:
    from launcher.output import show_submission

    show_submission(submission, output)
    name = submission.status.name
    if submission.outcome == "already done":
        click.echo(f"see `launcher results {name}`", err=True)
    else:
        click.echo(f"next: `launcher logs -f {name}`, `launcher wait {name}`, `launcher results {name}`", err=True)


def _see_to_the_end(
    backend: Backend, submission: Submission, *, show_progress: bool, timeout: float | None, output: str
) -> int:
    from dataclasses import replace

    from launcher.output import show_submission
    from launcher.progress import follow_display

    name = submission.status.name
    click.echo(f"{name} {submission.outcome}", err=True)
    with follow_display() if show_progress else nullcontext(say_why_it_waits()) as show:
        status = wait_until_over(backend, name, timeout=timeout, show=show)
    explain_end(status)
    if output in ("table", "wide"):
        if exit_code(status) == 0:
            _show_results(backend, name, output)
    else:
        show_submission(replace(submission, status=status), output)
    return exit_code(status)


def _show_results(backend: Backend, name: str, output: str) -> None:
    """The job has succeeded, whether or not its results can be read from here."""
    from launcher.output import show_results

    try:
        show_results(name, backend.results(name), output)
    except LauncherError as error:
        click.echo(f"{name} Succeeded; its results cannot be shown: {error.message}", err=True)
