"""A wrong value fails in Python, in the Helm library and in the helm program alike: one model makes both checks."""

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from pydantic import ValidationError

from tests.chart.scenarios import CHART, NAME, model_of, values_file

WRONG: dict[str, Any] = {
    "image": ["", "two words", 5],
    "imagePullPolicy": ["Sometimes"],
    "imagePullSecrets": [["registry"], [{"name": "Upper"}], [{"name": "a", "key": "b"}]],
    "runFile": [{"job": "digits"}, "x" * 240_001],
    "command": ["train.py", [1]],
    "env": [
        {"1A": "x"},
        {"A-B": "x"},
        {"A": 1},
        {"A": {"secret": "s"}},
        {"A": {"secret": "s", "key": "a/b"}},
        {"PET_NNODES": "2"},
        {"RESULTS_DIR": "/elsewhere"},
    ],
    "replicas": [0, "2", 1.5, 100_001],
    "nprocPerNode": [0, "auto", 1025],
    "elastic": [{}, {"minReplicas": 1}, {"minReplicas": 0, "maxReplicas": 1}, {"minReplicas": 2, "maxReplicas": 4}],
    "resources": [
        {"limits": {"cpu": 2}},
        {"limits": {"cpu": "two"}},
        {"limits": {"gpu": "1"}},
        {"requests": {"nvidia.com/gpu": "-1"}},
        {"limit": {}},
    ],
    "shmSize": ["8GB", 8],
    "results": [{"claim": "Upper"}, {"path": "results"}, {"path": "/a:b"}, {"create": {}}, {"size": "1Gi"}],
    "volumes": [
        [{"name": "data", "mount": "/data"}],
        [{"name": "data", "claim": "c", "mount": "data"}],
        [{"name": "a" * 64, "claim": "c", "mount": "/d"}],
    ],
    "runAsUser": [0, "trainer"],
    "runAsGroup": [0],
    "fsGroup": [-1],
    "readOnlyRootFilesystem": ["yes"],
    "serviceAccountName": ["My Account"],
    "restartPolicy": ["Always"],
    "restartRules": ["true", 1],
    "backoffLimit": [-1],
    "activeDeadlineSeconds": [0],
    "cleanPodPolicy": ["Some"],
    "suspend": ["no"],
    "schedulingPolicy": [{"queues": "a"}, {"minAvailable": 0}],
    "queueName": ["two words"],
    "priorityClassName": ["High"],
    "nodeSelector": [{"a b": "c"}, {"a": "b c"}, {"a": True}],
    "tolerations": [[{"operator": "Sometimes"}], [{"key": "a", "seconds": 1}], [{"tolerationSeconds": -1}]],
    "nodeLostSeconds": [-1],
    "terminationGracePeriodSeconds": ["90s"],
    "isolatedNetwork": ["on"],
    "labels": [{"team": "a b"}, {"/": "x"}],
    "annotations": [{"a b": "c"}, {"a": 1}],
    "podAnnotations": [{"sidecar.istio.io/inject": False}],
    "misspelt": ["x"],
}
CASES = [(key, value) for key, values in WRONG.items() for value in values]


@pytest.fixture(scope="module")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as chart:
        yield chart


def rendered_by(chart: helm_python.Chart, content: dict[str, Any]) -> dict[str, str]:
    chart.validate_schema(content)
    return chart.render(content, name=NAME)


def test_every_value_of_the_chart_has_a_wrong_form_here() -> None:
    assert set(WRONG) - {"misspelt"} == set(yaml.safe_load((CHART / "values.yaml").read_text()))


@pytest.mark.parametrize(("key", "value"), CASES, ids=[f"{key}-{str(value)[:40]}" for key, value in CASES])
def test_a_wrong_value_fails_in_python_and_in_helm(
    key: str, value: Any, chart: helm_python.Chart, helm: Path, tmp_path: Path
) -> None:
    content = {**copy.deepcopy(values_file("cpu")), key: value}
    if key == "command":
        del content["runFile"]
    with pytest.raises(ValidationError):
        model_of(content)
    with pytest.raises(helm_python.HelmError, match=key):
        rendered_by(chart, content)
    (tmp_path / "values.json").write_text(json.dumps(content))
    arguments: list[str | Path] = [helm, "template", NAME, CHART, "--values", tmp_path / "values.json"]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode != 0
    assert result.stdout == ""
    assert key in result.stderr


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a mapping, with its place."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, inner in schema.items():
            yield from objects(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from objects(inner, f"{path}/{index}")


def test_every_mapping_of_the_schema_is_closed() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = dict(objects(schema))
    assert len(found) > 15
    open_ones = {path for path, mapping in found.items() if mapping.get("additionalProperties") is not False}
    assert open_ones == {"/properties/global"}  # Helm's own, where this chart is a dependency
