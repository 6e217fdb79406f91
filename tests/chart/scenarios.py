"""What the chart's tests render: a values file of charts/pytorchjob/ci each, and the examples' jobs."""

import json
from pathlib import Path
from typing import Any

import yaml

from launcher.job.chart_model import ChartValues
from launcher.job.load import load_job
from launcher.job.placement import plan
from launcher.job.render import job_values
from launcher.job.spec import JobSpec
from tests.command_line import EXAMPLES, ROOT

CHART = ROOT / "charts" / "pytorchjob"
NAME, NAMESPACE = "digits", "training"
CI_FILES = {path.stem.removesuffix("-values"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
JOBS = {path.stem: path for path in sorted(EXAMPLES.glob("*.yaml"))}
SCENARIOS = [*CI_FILES, *JOBS]


def values_file(scenario: str) -> dict[str, Any]:
    """A ci file's content."""
    content: dict[str, Any] = yaml.safe_load(CI_FILES[scenario].read_text())
    return content


def model_of(content: dict[str, Any]) -> ChartValues:
    """A values file as the model reads it."""
    return ChartValues.model_validate_json(json.dumps(content))


def job(path: Path, **flags: Any) -> JobSpec:
    return load_job(path.read_text(), filename=path.name, **flags)


def values_of(scenario: str) -> ChartValues:
    """The chart's values in a scenario."""
    if scenario in CI_FILES:
        return model_of(values_file(scenario))
    spec = job(JOBS[scenario])
    return job_values(spec, plan(spec, spec.nodes), namespace=NAMESPACE)
