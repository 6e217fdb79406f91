"""Fixtures of the cluster tier; README.md beside this file describes them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import providers
from tests.cluster.base import Cluster
from tests.cluster.jobs import Jobs
from tests.cluster.team import Team, create_team, install_roles
from tests.tools.build import ToolMissing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that runs already (make cluster-up), else one for this session."""
    provider = providers.provider(providers.default())
    found = provider.running()
    try:
        cluster = found or provider.start()
    except ToolMissing as reason:
        pytest.skip(f"no cluster for these tests: {reason}")
    try:
        install_roles(cluster)
        yield cluster
    finally:
        if found is None:
            cluster.stop()


@pytest.fixture
def team(cluster: Cluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    """A fresh namespace, restricted, with quota and default-deny policies, and its submitter."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:50].strip("-")
    team = create_team(cluster, f"{words}-{tmp_path.name[-1]}{id(tmp_path) % 1000}", tmp_path)
    yield team
    team.delete()


@pytest.fixture
def jobs(team: Team) -> Jobs:
    """Submits jobs as the submitter, and watches them."""
    return Jobs(team)
