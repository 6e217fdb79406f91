"""A real helm for the chart's tests: built once from tests/tools/helm, or else the tests that need it are skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.job import render
from tests.tools.build import ToolMissing, tool


@pytest.fixture(scope="session")
def helm() -> Path:
    """The pinned helm."""
    try:
        return tool("helm")
    except ToolMissing as reason:
        pytest.skip(f"no helm, so the chart is not checked by the real one: {reason}")


@pytest.fixture(autouse=True)
def _no_engine_outlives_its_test() -> Iterator[None]:
    yield
    render.forget_engines()


@pytest.fixture
def helm_on_path(helm: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pinned helm as the only program on PATH."""
    monkeypatch.setenv("PATH", str(helm.parent))
    render.forget_engines()
    return helm
