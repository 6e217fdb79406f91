"""``launcher plan``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from launcher.commands.job_options import job_options, node_shapes, nodes_option, read_job
from launcher.commands.options import output_option

if TYPE_CHECKING:
    from launcher.job.placement import NodeUse, Placement
    from launcher.job.spec import JobSpec

EXAMPLES = """\b
Examples:
  launcher plan job.yaml --nodes 4x8
  launcher plan job.yaml --gpus 12 --nodes 1x8 --nodes 4x4 --gpus-per-node 4
"""


@click.command("plan", epilog=EXAMPLES)
@job_options
@nodes_option
@output_option("table", "json", "yaml")
def command(shapes: list[tuple[int, int]], output: str, **job: Any) -> None:
    """Show how a job is split over pods and nodes.

    Nothing is asked of a cluster: the nodes are the ones stated here or in the file. A job that cannot be split, or
    that they cannot hold, ends with exit code 5 and a list of splits that fit.
    """
    from launcher.job.placement import plan, usage
    from launcher.output import show_document

    spec = read_job(**job)
    nodes = node_shapes(spec, shapes)
    placement = plan(spec, nodes)
    uses = usage(spec, placement, nodes)
    if output == "table":
        _show_table(spec, placement, uses)
    else:
        show_document(_document(spec, placement, uses), output)


def batch_per_rank(spec: JobSpec) -> tuple[int, int] | None:
    """Smallest and largest share of the global batch that a rank gets; None for a job that runs its own command."""
    if spec.train is None:
        return None
    smallest, rest = divmod(spec.train.batch_size, spec.ranks)
    return smallest, smallest + bool(rest)


def _document(spec: JobSpec, placement: Placement, uses: Sequence[NodeUse]) -> dict[str, Any]:
    from launcher.output import SCHEMA_VERSION

    batch = batch_per_rank(spec)
    return {
        "schemaVersion": SCHEMA_VERSION,
        "name": spec.name,
        "pods": placement.nodes,
        "ranks_per_pod": placement.ranks_per_node,
        "ranks": placement.ranks,
        "gpus": spec.total_gpus,
        "batch_per_rank": {"min": batch[0], "max": batch[1]} if batch else None,
        "nodes": [
            {"count": use.count, "gpus": use.gpus, "pods": use.pods, "used": use.used, "idle": use.idle} for use in uses
        ],
    }


def _show_table(spec: JobSpec, placement: Placement, uses: Sequence[NodeUse]) -> None:
    from launcher.output import table

    batch = batch_per_rank(spec)
    shown = "-" if batch is None else str(batch[0]) if batch[0] == batch[1] else f"{batch[0]}-{batch[1]}"
    row = [spec.name, placement.nodes, placement.ranks_per_node, placement.ranks, spec.total_gpus, shown]
    header = ["NAME", "PODS", "RANKS/POD", "RANKS", "GPUS", "BATCH/RANK"]
    click.echo(table(header, [[str(cell) for cell in row]]))
    if uses:
        rows = [[f"{use.count} x {use.gpus} GPUs", str(use.pods), str(use.used), str(use.idle)] for use in uses]
        click.echo("\n" + table(["NODES", "PODS", "GPUS USED", "GPUS IDLE"], rows))
