"""``launcher validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from launcher.commands.job_options import display_name, job_options, read_job

if TYPE_CHECKING:
    from launcher.job.spec import JobSpec

EXAMPLES = """\b
Examples:
  launcher validate job.yaml
  launcher validate job.yaml --gpus 8 --set train.batch_size=512
  cat job.yaml | launcher validate - -o json
"""


@click.command("validate", epilog=EXAMPLES)
@job_options
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="Form of the answer.")
def command(output: str, **job: Any) -> None:
    """Check a job file and report every mistake at once.

    -o json and -o yaml print the job as it is understood, with overrides applied and defaults filled in.
    """
    spec = read_job(**job)
    if output == "text":
        click.echo(f"{display_name(job['file'])}: valid")
        click.echo(summary(spec))
        return
    from launcher.output import SCHEMA_VERSION, show_document

    show_document({"schemaVersion": SCHEMA_VERSION, "job": spec.model_dump(mode="json")}, output)


def summary(spec: JobSpec) -> str:
    """What will run, in one line."""
    where = (
        f"{spec.total_gpus} GPU{'s' * (spec.total_gpus != 1)}"
        if spec.total_gpus
        else f"{spec.ranks} CPU process{'es' * (spec.ranks != 1)}"
    )
    train = spec.train
    if train is None:
        return f"{spec.name}: {' '.join(spec.command or ())} on {where}"
    data = getattr(train.data, "path", None) or getattr(train.data, "name", train.data.kind)
    return (
        f"{spec.name}: {train.model.name} on {data}, {train.epochs} epoch{'s' * (train.epochs != 1)} "
        f"of batch size {train.batch_size}, on {where}"
    )
