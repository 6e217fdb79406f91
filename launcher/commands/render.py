"""``launcher render``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from launcher.commands.job_options import job_options, node_shapes, nodes_option, read_job
from launcher.errors import InvalidJob

if TYPE_CHECKING:
    from launcher.job.render import Manifest

EXAMPLES = """\b
Examples:
  launcher render job.yaml --gpus 8
  launcher render job.yaml --gpus 16 --nodes 4x8 -n training | kubectl create -f -
  launcher render job.yaml --values > values.yaml
"""


@click.command("render", epilog=EXAMPLES)
@job_options
@nodes_option
@click.option("-n", "--namespace", help="Namespace of the job.  [default: the current context's, else default]")
@click.option(
    "--engine",
    type=click.Choice(["auto", "library", "helm"]),
    default="auto",
    show_default=True,
    help="What renders the chart: the Helm library in this process, or the helm on PATH.",
)
@click.option("--values", "values_only", is_flag=True, help="Print the chart's values instead, for helm install -f.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="Form of the answer on stdout.",
)
def command(
    shapes: list[tuple[int, int]],
    namespace: str | None,
    engine: Any,
    values_only: bool,
    output: str,
    **job: Any,
) -> None:
    """Print the Kubernetes objects that a submit creates.

    Nothing is asked of a cluster. The nodes are the ones stated here or in the file; a job is one pod where none are.
    """
    from launcher.job.placement import plan
    from launcher.job.render import job_manifests, job_values, values_document

    spec = read_job(**job)
    where = namespace or _current_namespace()
    _check_namespace(where)
    placement = plan(spec, node_shapes(spec, shapes))
    if values_only:
        documents = [values_document(job_values(spec, placement, namespace=where))]
    else:
        documents = job_manifests(spec, placement, namespace=where, engine=engine)
    click.echo(_json(documents) if output == "json" else _yaml(documents), nl=False)


def _current_namespace() -> str:
    """What a submit would use."""
    from launcher.backends.kubernetes.kubeconfig import Target, choose
    from launcher.backends.select import configured_cluster

    return choose(Target()).namespace if configured_cluster() else "default"


def _check_namespace(namespace: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from launcher.job.field_types import DnsName

    try:
        TypeAdapter(DnsName).validate_python(namespace)
    except ValidationError:
        raise InvalidJob(
            f"--namespace: must be lower-case letters, digits and dashes, 63 at most (got {namespace!r})"
        ) from None


def _json(documents: list[Manifest]) -> str:
    """One document, which kubectl reads like a file of several."""
    whole = documents[0] if len(documents) == 1 else {"apiVersion": "v1", "kind": "List", "items": documents}
    return json.dumps(whole, indent=2) + "\n"


def _yaml(documents: list[Manifest]) -> str:
    from launcher.job.manifest_yaml import to_yaml

    return to_yaml(documents)
