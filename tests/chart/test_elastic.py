"""By what the pods of elastic jobs find one another."""

from typing import Any

import pytest

from launcher.job.render import render
from tests.chart.scenarios import NAME, NAMESPACE, model_of, values_file

STATIC = {"PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}


def variables(values: dict[str, Any]) -> set[str]:
    """Names of torchrun's variables that the chart sets."""
    job = render(model_of(values), name=NAME, namespace=NAMESPACE)[-1]
    [container] = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    return {entry["name"] for entry in container["env"] if entry["name"] in STATIC}


@pytest.mark.parametrize(
    ("scenario", "changes", "expected"),
    [
        ("elastic", {}, STATIC),
        ("command-job", {}, STATIC),
        ("command-job", {"elastic": {"minReplicas": 1, "maxReplicas": 2}}, set()),
    ],
    ids=["elastic trainer", "command", "elastic command"],
)
def test_the_trainer_knows_its_node_and_an_elastic_torchrun_uses_the_operators_rendezvous(
    scenario: str, changes: dict[str, Any], expected: set[str]
) -> None:
    assert variables({**values_file(scenario), **changes}) == expected
