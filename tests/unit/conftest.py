"""Fixtures of the unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.fake_jobs import FakeJobs


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJobs]:
    """A local backend with scripted supervisors on a machine without GPUs; none of them outlives the test."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    jobs = FakeJobs(tmp_path)
    yield jobs
    jobs.stop_all()
