"""A Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on loopback, in one folder."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import yaml

from tests.api.processes import Server, flags, free_ports, start
from tests.api.rest import ApiError, Rest, load_objects
from tests.tools.build import module_source, tool

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
OPERATOR_MODULE = "github.com/kubeflow/training-operator"
JOB_CRD = "manifests/base/crds/kubeflow.org_pytorchjobs.yaml"

# user -> groups. The groups are the ones that the example bindings of k8s/ name.
USERS = {
    "admin": ["system:masters"],
    "submitter": ["ml-engineers"],
    "submitter-viewer": ["ml-engineers"],
    "submitter-only": [],
    "results-reader": [],
    "viewer": [],
    "outsider": [],
}

# Only what the tests rely on; the other controllers would act on objects that a test stages.
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "persistentvolumeclaim-protection-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
)


@dataclass
class ControlPlane:
    """A running control plane; every file of it lies in ``folder``."""

    folder: Path
    port: int
    ca: trustme.CA
    tokens: dict[str, str]
    servers: list[Server] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate that signed the server's."""
        return self.folder / "ca.crt"

    def token(self, user: str) -> str:
        """The user's bearer token: a canary that no output may contain."""
        return self.tokens[user]

    def rest(self, user: str = "admin") -> Rest:
        """Requests as ``user``, past the client that the tests are about."""
        return Rest(self.url, self.ca_file, self.token(user))

    def kubeconfig(self, path: Path, user: str, namespace: str = "default") -> Path:
        """Write a kubeconfig for ``user``."""
        content = kubeconfig(self.url, self.ca_file.read_bytes(), self.token(user), user=user, namespace=namespace)
        return write_private(path, yaml.safe_dump(content))

    def stop(self) -> None:
        """End all servers, the last one started first."""
        while self.servers:
            self.servers.pop().stop()

    def logs(self) -> str:
        """The end of each server's log, for failure messages."""
        return "\n".join(f"--- {server.log}\n{server.tail()}" for server in self.servers)


def start_control_plane(folder: Path) -> ControlPlane:
    """Start a control plane with the PyTorchJob type installed.

    Raises:
        ToolMissing: A program is neither there nor can it be built.
    """
    programs = {name: tool(name) for name in PROGRAMS}
    (job_type,) = load_objects((module_source(OPERATOR_MODULE) / JOB_CRD).read_text())
    etcd_port, peer_port, port = free_ports(3)
    tokens = {user: f"canary-token-{user}-{secrets.token_hex(8)}" for user in USERS}
    plane = ControlPlane(folder, port, trustme.CA(), tokens)
    try:
        _write_credentials(plane)
        _start_etcd(plane, programs["etcd"], etcd_port, peer_port)
        _start_api_server(plane, programs["kube-apiserver"], etcd_port)
        # Before the garbage collector starts: it would notice a new type only half a minute later.
        plane.rest().apply(job_type)
        _wait_for_type(plane)
        _start_controllers(plane, programs["kube-controller-manager"])
    except BaseException:
        plane.stop()
        raise
    return plane


def kubeconfig(server: str, ca: bytes | None, token: str, *, user: str, namespace: str) -> dict[str, Any]:
    """A kubeconfig with one context, named for the user."""
    cluster = {"server": server} | ({"certificate-authority-data": base64.b64encode(ca).decode()} if ca else {})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": user,
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": user, "context": {"cluster": "test", "user": user, "namespace": namespace}}],
    }


def write_private(path: Path, text: str) -> Path:
    """Write a file that holds a credential."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _write_credentials(plane: ControlPlane) -> None:
    """Certificates, and a token file with a line a user: token, name, uid, groups."""
    server = plane.ca.issue_cert("127.0.0.1", "localhost")
    plane.ca.cert_pem.write_to_path(str(plane.ca_file))
    server.private_key_pem.write_to_path(str(plane.folder / "server.key"))
    server.cert_chain_pems[0].write_to_path(str(plane.folder / "server.crt"))
    lines = [f'{plane.token(user)},{user},{user},"{",".join(groups)}"\n' for user, groups in USERS.items()]
    write_private(plane.folder / "tokens.csv", "".join(lines))


def _start_etcd(plane: ControlPlane, binary: Path, port: int, peer_port: int) -> None:
    url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    settings = {
        "data-dir": str(plane.folder / "etcd"),
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    plane.servers.append(start(binary, flags(settings), plane.folder / "etcd.log"))


def _start_api_server(plane: ControlPlane, binary: Path, etcd_port: int) -> None:
    settings = {
        "etcd-servers": f"http://127.0.0.1:{etcd_port}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": str(plane.port),
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": "10.96.0.0/16",
        "tls-cert-file": "server.crt",
        "tls-private-key-file": "server.key",
        "client-ca-file": "ca.crt",
        "token-auth-file": "tokens.csv",
        "authorization-mode": "RBAC",
        "service-account-issuer": plane.url,
        "service-account-key-file": "server.key",
        "service-account-signing-key-file": "server.key",
        "kubelet-preferred-address-types": "InternalIP",
        # Otherwise a privileged pod would be refused by this flag, and Pod Security would not be tested.
        "allow-privileged": "true",
        "profiling": "false",
    }
    server = start(binary, flags(settings), plane.folder / "kube-apiserver.log")
    plane.servers.append(server)
    server.wait_until(lambda: _answers(lambda: plane.rest().raw("GET", "readyz")))


def _start_controllers(plane: ControlPlane, binary: Path) -> None:
    settings = {
        "kubeconfig": str(plane.kubeconfig(plane.folder / "controllers.kubeconfig", "admin")),
        "controllers": ",".join(CONTROLLERS),
        "leader-elect": "false",
        "secure-port": "0",
        "kube-api-qps": "500",
        "kube-api-burst": "1000",
    }
    server = start(binary, flags(settings), plane.folder / "kube-controller-manager.log")
    plane.servers.append(server)
    server.wait_until(lambda: _answers(lambda: plane.rest().get("ServiceAccount", "default", "default")))


def _wait_for_type(plane: ControlPlane) -> None:
    server = plane.servers[-1]
    server.wait_until(lambda: _answers(lambda: plane.rest().list("PyTorchJob", "default")))


def _answers(request: Callable[[], object]) -> bool:
    """Whether the request gets the answer that it waits for; not being ready yet has many forms."""
    try:
        request()
    except (ApiError, OSError, json.JSONDecodeError):
        return False
    return True
