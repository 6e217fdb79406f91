"""Paths in the pod and the folders on this machine that stand for them."""

from pathlib import Path
from typing import Any

import pytest

from launcher.backends.local.volumes import localize
from tests.unit.fake_jobs import digits_spec


def data_path(path: str, *volumes: dict[str, Any]) -> str:
    """Where the data set at ``path`` in the pod is on this machine."""
    spec = digits_spec(train={"data": {"kind": "idx", "path": path}}, volumes=list(volumes))
    assert spec.train is not None
    found: str = getattr(localize(spec, spec.train).data, "path")  # noqa: B009  only some data sets have a path
    return found


def test_the_deepest_mount_counts(tmp_path: Path) -> None:
    for folder in ("outer/inner/mnist", "other/mnist"):
        (tmp_path / folder).mkdir(parents=True)
    outer = {"name": "outer", "mount": "/data", "local": str(tmp_path / "outer")}
    inner = {"name": "inner", "mount": "/data/inner", "local": str(tmp_path / "other")}
    assert data_path("/data/inner/mnist", outer, inner) == str(tmp_path / "other" / "mnist")
    assert data_path("/data/inner/mnist", outer) == str(tmp_path / "outer" / "inner" / "mnist")


def test_the_mount_itself_may_be_the_data(tmp_path: Path) -> None:
    assert data_path("/data", {"name": "data", "mount": "/data", "local": str(tmp_path)}) == str(tmp_path)


def test_home_and_relative_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    for local in ("~/sets", "sets"):
        assert data_path("/data", {"name": "data", "mount": "/data", "local": local}) == str(tmp_path / "sets")


def test_data_without_a_path_needs_no_volume() -> None:
    spec = digits_spec()
    assert spec.train is not None
    assert localize(spec, spec.train) == spec.train
