"""Which backend a command talks to, and how many devices this machine shows."""

from pathlib import Path

import pytest

from launcher.backends.kubernetes.backend import KubernetesBackend
from launcher.backends.kubernetes.kubeconfig import Target
from launcher.backends.local import devices
from launcher.backends.local.backend import LocalBackend
from launcher.backends.select import choose_backend
from launcher.errors import BackendUnusable


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder on a machine where no cluster is configured."""
    for variable in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_without_a_cluster_jobs_run_here_and_one_line_says_so(home: Path) -> None:
    said: list[str] = []
    assert isinstance(choose_backend(None, home, say=said.append), LocalBackend)
    assert len(said) == 1


def test_a_backend_that_was_asked_for_is_not_announced(home: Path) -> None:
    said: list[str] = []
    assert isinstance(choose_backend("local", home, say=said.append), LocalBackend)
    assert said == []


@pytest.mark.parametrize("sign", ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "~/.kube/config"])
def test_a_configured_cluster_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    if sign.startswith("~"):
        (home / ".kube").mkdir()
        (home / ".kube" / "config").touch()
    else:
        monkeypatch.setenv(sign, "something")
    assert isinstance(choose_backend(None, home), KubernetesBackend)
    assert isinstance(choose_backend("local", home), LocalBackend)


@pytest.mark.parametrize("target", [Target(context="lab"), Target(kubeconfig="lab.yaml")])
def test_naming_a_cluster_chooses_kubernetes(home: Path, target: Target) -> None:
    assert isinstance(choose_backend(None, home, target=target), KubernetesBackend)


def test_a_namespace_alone_does_not_choose_a_cluster_and_is_said_to_be_unused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(choose_backend(None, home, target=Target(namespace="team")), LocalBackend)
    assert capsys.readouterr().err == "not used by the local backend: --namespace\n"


def test_a_cluster_that_is_asked_for_and_not_configured_is_an_error_with_the_way_out(home: Path) -> None:
    with pytest.raises(BackendUnusable, match=r"\.kube/config does not exist(.|\n)*--backend local"):
        choose_backend("kubernetes", home).list()


LISTING = """GPU 0: NVIDIA H100 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H100 (UUID: GPU-bbbb-2)
  MIG 1g.10gb Device 0: (UUID: MIG-cccc-3)
"""


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 2),
        ("", 0),
        ("-1", 0),
        ("0", 1),
        ("0,1", 2),
        ("1,0", 2),
        ("0,7,1", 1),
        ("GPU-bbbb", 1),
        ("GPU-aaaa-1, GPU-bbbb-2", 2),
        ("MIG-cccc-3", 1),
        ("GPU-none", 0),
    ],
)
def test_visible_devices_are_counted_as_cuda_does(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    monkeypatch.setattr(devices, "_driver_listing", lambda: LISTING)
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert devices.cuda_devices(environment) == count


@pytest.mark.parametrize(
    ("script", "count"), [("echo 'GPU 0: X (UUID: GPU-1)'", 1), ("echo 'GPU 0: X'; exit 9", 0), (None, 0)]
)
def test_the_driver_is_asked_and_its_absence_means_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, count: int
) -> None:
    if script:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.cuda_devices({}) == count
