"""The real helm on the chart as it lies there, without the launcher."""

import subprocess
from pathlib import Path

import pytest

from launcher import __version__
from tests.chart.scenarios import CHART, CI_FILES, NAME, NAMESPACE, values_file
from trainer.config.contract import parse_run_file


def run(helm: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(helm: Path, *arguments: str | Path, name: str = NAME) -> subprocess.CompletedProcess[str]:
    return run(helm, "template", name, CHART, "--namespace", NAMESPACE, *arguments)


def test_the_chart_passes_strict_lint_as_it_is(helm: Path) -> None:
    result = run(helm, "lint", "--strict", "--quiet", CHART)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("scenario", CI_FILES)
def test_every_scenario_passes_strict_lint_and_renders_without_a_word(helm: Path, scenario: str) -> None:
    lint = run(helm, "lint", "--strict", "--quiet", CHART, "--values", CI_FILES[scenario])
    rendered = template(helm, "--values", CI_FILES[scenario])
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")
    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert rendered.stdout.count("kind: PyTorchJob") == 1


@pytest.mark.parametrize(
    ("missing", "words"),
    [("image", "image: required"), ("runFile", "give either runFile or command")],
)
def test_values_that_lack_the_essential_say_what_is_missing(helm: Path, missing: str, words: str) -> None:
    result = template(helm, "--values", CI_FILES["cpu"], "--set", f"{missing}=null")
    assert result.returncode != 0
    assert words in result.stderr


@pytest.mark.parametrize("name", ["1digits", "a" * 51])
def test_a_release_that_no_job_could_be_named_like_is_refused(helm: Path, name: str) -> None:
    result = template(helm, "--values", CI_FILES["cpu"], name=name)
    assert result.returncode != 0
    assert "the release must be named like a job" in result.stderr


def test_numbers_set_on_the_command_line_are_taken(helm: Path) -> None:
    flags = ["replicas=3", "elastic.minReplicas=1", "elastic.maxReplicas=4", "runAsUser=1000650000"]
    result = template(helm, "--values", CI_FILES["cpu"], *(f"--set={flag}" for flag in flags))
    assert result.returncode == 0, result.stderr
    assert "runAsUser: 1000650000" in result.stdout


@pytest.mark.parametrize("scenario", [name for name in CI_FILES if name != "command-job"])
def test_the_run_file_of_every_scenario_is_one_that_the_trainer_takes(scenario: str) -> None:
    parse_run_file(values_file(scenario)["runFile"])


def test_chart_and_launcher_have_one_version() -> None:
    lines = (CHART / "Chart.yaml").read_text().splitlines()
    assert f"version: {__version__}" in lines
    assert f"appVersion: {__version__}" in lines
