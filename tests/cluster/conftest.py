"""Fixtures of the cluster tier; README.md beside this file describes them."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.cluster import providers
from tests.cluster.base import Cluster
from tests.cluster.jobs import Jobs
from tests.cluster.team import Team, create_team, install_roles
from tests.tools.build import ToolMissing

_CLUSTER = pytest.StashKey[Cluster]()
_MISSING = pytest.StashKey[str]()
_OURS = pytest.StashKey[bool]()
# Two cores train, serve the API and run the tests; a hung test is one that takes longer than this.
_SECONDS_A_TEST = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of this folder its time limit."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_SECONDS_A_TEST))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Bring the cluster up before the tests: inside of one, the minutes would count against that test's time limit."""
    config = session.config
    if config.option.collectonly or not any(Path(__file__).parent in item.path.parents for item in session.items):
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    try:
        provider = providers.provider(providers.default())
        found = provider.running()
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            cluster = found or provider.start()
    except ToolMissing as reason:
        config.stash[_MISSING] = str(reason)
        return
    config.stash[_CLUSTER], config.stash[_OURS] = cluster, found is None
    install_roles(cluster)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the cluster, unless it ran before."""
    if config.stash.get(_OURS, False):
        config.stash[_CLUSTER].stop()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The cluster that runs already (make cluster-up), else one for this session."""
    if reason := request.config.stash.get(_MISSING, None):
        pytest.skip(f"no cluster for these tests: {reason}")
    return request.config.stash[_CLUSTER]


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
