"""The library and the helm program give the same manifests, and either failing says so."""

import builtins
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.errors import LauncherError, LauncherExit
from launcher.job import render as module
from launcher.job.render import Engine, forget_engines, render
from tests.chart.scenarios import CHART, CI_FILES, NAME, NAMESPACE, SCENARIOS, values_of


def manifests(scenario: str, engine: Engine = "library") -> list[dict[str, Any]]:
    return render(values_of(scenario), name=NAME, namespace=NAMESPACE, engine=engine)


def fake_helm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program called helm that answers the question for its version, and else runs ``script``."""
    (folder / "helm").write_text(f'#!/bin/sh\nif [ "$1" = version ]; then echo v4.0.0; exit; fi\n{script}\n')
    (folder / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    forget_engines()


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "helm_python":
            raise ImportError("no library for this platform")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    forget_engines()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.usefixtures("helm_on_path")
def test_both_engines_make_the_same_manifests(scenario: str) -> None:
    assert manifests(scenario, "library") == manifests(scenario, "helm")


@pytest.mark.parametrize("scenario", CI_FILES)
def test_the_launcher_makes_of_a_values_file_what_plain_helm_makes_of_it(helm: Path, scenario: str) -> None:
    arguments: list[str | Path] = [
        helm,
        "template",
        NAME,
        CHART,
        "--namespace",
        NAMESPACE,
        "--values",
        CI_FILES[scenario],
    ]
    output = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True).stdout
    plain = [document for document in yaml.safe_load_all(output) if document]
    assert sorted(plain, key=str) == sorted(manifests(scenario), key=str)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_job_comes_last_and_rendering_twice_gives_the_same(scenario: str) -> None:
    first = manifests(scenario)
    assert first[-1]["kind"] == "PyTorchJob"
    assert manifests(scenario) == first


@pytest.mark.parametrize(
    ("scenario", "kinds"),
    [
        ("cpu", ["PyTorchJob"]),
        ("created-claim", ["PersistentVolumeClaim", "PyTorchJob"]),
        ("isolated-network", ["NetworkPolicy", "PyTorchJob"]),
    ],
)
def test_only_options_that_need_it_add_objects(scenario: str, kinds: list[str]) -> None:
    assert [manifest["kind"] for manifest in manifests(scenario)] == kinds


@pytest.mark.usefixtures("helm_on_path")
def test_without_the_library_the_helm_on_path_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = manifests("cpu")
    without_library(monkeypatch)
    assert manifests("cpu", "auto") == expected
    with pytest.raises(LauncherError, match="use --engine helm") as caught:
        manifests("cpu", "library")
    assert caught.value.exit_code == LauncherExit.UNUSABLE


def test_without_any_engine_the_message_names_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_library(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LauncherError, match=r"install helm 3\.18\.6 or newer on PATH, or .* helm-python-sdk") as caught:
        manifests("cpu", "auto")
    assert caught.value.exit_code == LauncherExit.UNUSABLE


@pytest.mark.parametrize("version", ["v3.18.5", "v3.9.11", "2.17.0", "unknown"])
def test_a_helm_that_is_too_old_is_refused(version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_helm(tmp_path, "", monkeypatch)
    (tmp_path / "helm").write_text(f"#!/bin/sh\necho {version}\n")
    with pytest.raises(LauncherError, match=re.escape(f"is version {version}, and the chart needs 3.18.6 or newer")):
        manifests("cpu", "helm")


def test_what_helm_says_reaches_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_helm(tmp_path, "echo 'Error: no such thing' >&2; exit 1", monkeypatch)
    with pytest.raises(LauncherError, match="the chart cannot be rendered: no such thing"):
        manifests("cpu", "helm")


ODD = {
    "another kind": "{apiVersion: v1, kind: Secret, metadata: {name: digits, namespace: training}}",
    "another namespace": "{apiVersion: kubeflow.org/v1, kind: PyTorchJob, metadata: {name: digits, namespace: x}}",
    "another name": "{apiVersion: kubeflow.org/v1, kind: PyTorchJob, metadata: {name: x, namespace: training}}",
    "nothing": "",
    "no object": "just words",
    "no YAML": "{",
}
JOB = "{apiVersion: kubeflow.org/v1, kind: PyTorchJob, metadata: {name: digits, namespace: training}}"


@pytest.mark.parametrize("case", ODD)
def test_output_that_nobody_asked_for_is_refused(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(JOB)
    (tmp_path / "odd.yaml").write_text(ODD[case] if case == "nothing" else f"{JOB}\n---\n{ODD[case]}\n")
    fake_helm(tmp_path, f"cat {tmp_path}/good.yaml", monkeypatch)
    assert [manifest["kind"] for manifest in manifests("cpu", "helm")] == ["PyTorchJob"]
    fake_helm(tmp_path, f"cat {tmp_path}/odd.yaml", monkeypatch)
    with pytest.raises(LauncherError, match=r"the chart made|no YAML"):
        manifests("cpu", "helm")


def test_a_users_helm_settings_change_nothing(helm_on_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert helm_on_path.name == "helm"
    for name, value in {"HELM_DEBUG": "true", "HELM_NAMESPACE": "other", "HELM_KUBECONTEXT": "none"}.items():
        monkeypatch.setenv(name, value)
    assert manifests("cpu", "helm") == manifests("cpu", "library")


def test_values_travel_in_a_file_that_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_helm(tmp_path, f'echo "$@" > {tmp_path}/arguments; for last; do :; done; cat "$last" >&2; exit 1', monkeypatch)
    with pytest.raises(LauncherError, match="pytorchjob-trainer:latest"):
        manifests("cpu", "helm")
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:2] == ["template", NAME]
    assert "pytorchjob-trainer" not in " ".join(arguments)
    assert not Path(arguments[-1]).exists()


def test_the_chart_is_found_beside_the_package_or_in_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert module.chart_folder() == CHART
    monkeypatch.setattr(module, "CHART_FOLDERS", (tmp_path,))
    with pytest.raises(LauncherError, match="the chart is missing"):
        module.chart_folder()
