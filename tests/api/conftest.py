"""Fixtures of the API tier; README.md beside this file describes them for those who write tests."""

import contextlib
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
import yaml

from tests.api.cluster_actor import ClusterActor
from tests.api.control_plane import PROGRAMS, ControlPlane, kubeconfig, start_control_plane, write_private
from tests.api.fake_kubelet import FakeKubelet
from tests.api.manifests import create_namespace, install_roles, load_set_up
from tests.api.rest import Rest
from tests.api.scripted_server import Rule, ScriptedServer
from tests.tools.build import ToolMissing, tool

_NAMESPACE_NUMBERS = count(1)
_FOLDER = pytest.StashKey[Path]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Build what is missing before the tests: inside of one, the build would count against that test's time limit."""
    if config.option.collectonly or not any(Path(__file__).parent in item.path.parents for item in items):
        return
    # Where a program cannot be had, the fixture says so.
    with contextlib.suppress(ToolMissing):
        for name in PROGRAMS:
            tool(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """After a failure say where the servers' logs are; pytest keeps the folders of the last runs."""
    folder = config.stash.get(_FOLDER, None)
    if folder and (terminalreporter.stats.get("failed") or terminalreporter.stats.get("error")):
        terminalreporter.write_line(f"logs of the control plane: {folder}")


class KubeconfigFor(Protocol):
    """Writes a kubeconfig and gives its path."""

    def __call__(
        self, user: str, *, namespace: str | None = None, server: ScriptedServer | None = None, token: str | None = None
    ) -> Path: ...


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """The control plane, with the roles of k8s/ in it."""
    try:
        set_up = load_set_up()
        plane = start_control_plane(tmp_path_factory.mktemp("control-plane"))
    except ToolMissing as reason:
        pytest.skip(f"no API server for these tests: {reason}")
    request.config.stash[_FOLDER] = plane.folder
    try:
        install_roles(plane, set_up)
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Rest:
    return control_plane.rest("admin")


@pytest.fixture(scope="session")
def fake_kubelet(control_plane: ControlPlane) -> Iterator[FakeKubelet]:
    kubelet = FakeKubelet(control_plane.ca)
    yield kubelet
    kubelet.stop()


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    """A fresh namespace with everything of k8s/namespace in it, and the users bound to its roles."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    name = f"{words}-{next(_NAMESPACE_NUMBERS)}"
    create_namespace(control_plane, load_set_up(), name)
    return name


@pytest.fixture
def actor(admin: Rest, namespace: str, fake_kubelet: FakeKubelet) -> ClusterActor:
    return ClusterActor(admin, namespace, fake_kubelet.port)


@pytest.fixture
def kubeconfig_for(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> KubeconfigFor:
    numbers = count(1)
    default_namespace = namespace

    def write(
        user: str, *, namespace: str | None = None, server: ScriptedServer | None = None, token: str | None = None
    ) -> Path:
        place = namespace or default_namespace
        url, ca = (server.url, server.ca_pem) if server else (control_plane.url, control_plane.ca.cert_pem.bytes())
        content = kubeconfig(url, ca, token or control_plane.token(user), user=user, namespace=place)
        path = tmp_path / f"kubeconfig-{user}-{next(numbers)}.yaml"
        return write_private(path, yaml.safe_dump(content))

    return write


@pytest.fixture
def scripted_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., ScriptedServer]]:
    """Starts scripted servers; a test with a request that its script does not foresee fails."""
    servers: list[ScriptedServer] = []

    def start(*rules: Rule, upstream: bool = False, tls: bool = False) -> ScriptedServer:
        plane: ControlPlane | None = request.getfixturevalue("control_plane") if upstream or tls else None
        server = ScriptedServer(list(rules), plane if upstream else None, plane.ca if plane and tls else None)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
    unexpected = [f"{one.method} {one.target}" for server in servers for one in server.unexpected]
    assert not unexpected, f"requests without an answer in the script: {unexpected}"
