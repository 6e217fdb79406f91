"""``launcher render`` as its users run it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.job.load import load_job
from launcher.job.placement import plan
from launcher.job.render import job_manifests
from tests.command_line import EXAMPLES, environment, run_launcher
from tests.tools.build import ToolMissing, tool

DIGITS = str(EXAMPLES / "digits.yaml")
ALONE = {"KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": "", "LAUNCHER_IMAGE": ""}


def render(*arguments: str, home: Path, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A process that sees no cluster but what the variables name."""
    env = environment(**{**ALONE, "HOME": str(home), **variables})
    return run_launcher("render", *arguments, env=env, stdin=stdin)


def job_of(output: str) -> dict[str, Any]:
    *_, job = yaml.safe_load_all(output)
    assert job["kind"] == "PyTorchJob"
    return dict(job)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_renders_to_what_a_submit_creates(example: Path, tmp_path: Path) -> None:
    result = render(str(example), "--gpus", "8", home=tmp_path)
    assert result.returncode == 0, result.stderr
    spec = load_job(example.read_text(), filename="job.yaml", gpus=8)
    expected = job_manifests(spec, plan(spec, spec.nodes), namespace="default")
    assert list(yaml.safe_load_all(result.stdout)) == expected


def test_nodes_and_namespace_are_taken_from_the_options(tmp_path: Path) -> None:
    result = render(DIGITS, "--gpus", "8", "--nodes", "2x4", "-n", "team-a", home=tmp_path)
    job = job_of(result.stdout)
    assert (result.returncode, result.stderr) == (0, "")
    assert job["metadata"]["namespace"] == "team-a"
    assert job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2
    assert job["spec"]["nprocPerNode"] == "4"


def test_the_namespace_is_the_current_contexts_as_with_submit(tmp_path: Path) -> None:
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "mine"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    result = render(DIGITS, home=tmp_path, KUBECONFIG=str(tmp_path / "config"))
    assert job_of(result.stdout)["metadata"]["namespace"] == "mine"


@pytest.mark.parametrize("namespace", ["Team", "a/b", "a\nb", "-a"])
def test_a_namespace_that_cannot_be_is_a_usage_error(namespace: str, tmp_path: Path) -> None:
    result = render(DIGITS, "-n", namespace, home=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "--namespace: must be lower-case letters" in result.stderr


def test_a_missing_image_ends_with_2_and_the_ways_to_name_one(tmp_path: Path) -> None:
    job = (EXAMPLES / "digits.yaml").read_text().replace("image:", "# image:")
    missing = render("-", home=tmp_path, stdin=job)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "image: required on a cluster" in missing.stderr
    named = [
        render("-", "--image", "by-flag:1", home=tmp_path, stdin=job, LAUNCHER_IMAGE="by-profile:1"),
        render("-", home=tmp_path, stdin=job, LAUNCHER_IMAGE="by-profile:1"),
    ]
    images = [
        job_of(one.stdout)["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["image"]
        for one in named
    ]
    assert images == ["by-flag:1", "by-profile:1"]


def test_json_is_one_document_also_for_several_objects(tmp_path: Path) -> None:
    one = json.loads(render(DIGITS, "-o", "json", home=tmp_path).stdout)
    both = json.loads(render(DIGITS, "-o", "json", "--set", "results.create={size: 1Gi}", home=tmp_path).stdout)
    assert one["kind"] == "PyTorchJob"
    assert both["kind"] == "List"
    assert [item["kind"] for item in both["items"]] == ["PersistentVolumeClaim", "PyTorchJob"]


def test_the_printed_values_give_plain_helm_the_same_job(tmp_path: Path) -> None:
    try:
        helm = tool("helm")
    except ToolMissing as reason:
        pytest.skip(f"no helm: {reason}")
    chart = EXAMPLES.parent / "charts" / "pytorchjob"
    (tmp_path / "values.yaml").write_text(render(DIGITS, "--values", "-n", "a", home=tmp_path).stdout)
    arguments: list[str | Path] = [helm, "template", "digits", chart, "-n", "a", "-f", tmp_path / "values.yaml"]
    output = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True).stdout
    assert job_of(output) == job_of(render(DIGITS, "-n", "a", home=tmp_path).stdout)


def test_without_an_engine_it_ends_with_6_and_says_what_to_install(tmp_path: Path) -> None:
    result = render(DIGITS, "--engine", "helm", home=tmp_path, PATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (6, "")
    assert "install helm 3.18.6 or newer on PATH, or the Python package helm-python-sdk" in result.stderr
