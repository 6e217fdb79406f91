"""etcd, API server, controller manager and scheduler of the one-node cluster, as processes in its network namespace."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

import trustme
import yaml

from tests.api.control_plane import kubeconfig, write_private
from tests.api.processes import flags
from tests.cluster import operator
from tests.cluster.base import Kubectl
from tests.cluster.one_node import network
from tests.cluster.one_node.servers import Servers
from tests.tools.build import tool

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE_NAME = "training-node"
URL = f"https://{network.NODE}"
_ETCD = "http://127.0.0.1:2379"
# user -> groups
_USERS = {
    "admin": "system:masters",
    "controllers": "system:masters",
    "dns": "system:masters",
    f"system:node:{NODE_NAME}": "system:nodes",
}


class ControlPlane:
    """Starts the servers one by one; every file lies in ``folder``."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.folder = servers.folder
        self._tokens = {user: secrets.token_hex(16) for user in _USERS}

    @property
    def admin(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "admin.kubeconfig"

    def start(self) -> None:
        """Start all servers and wait until they answer."""
        self._write_credentials()
        self._start_etcd()
        self.start_api_server()
        operator.install_types(self.kubectl)
        self._start_controllers()
        self._run("kube-scheduler", {"kubeconfig": self.kubeconfig_of("controllers"), "leader-elect": "false"})

    def kubeconfig_of(self, user: str) -> str:
        """The path of the user's kubeconfig, written on the first call."""
        path = self.admin if user == "admin" else self.folder / f"{user.replace(':', '-')}.kubeconfig"
        if not path.exists():
            content = kubeconfig(
                URL, (self.folder / "ca.crt").read_bytes(), self._tokens[user], user=user, namespace="default"
            )
            write_private(path, yaml.safe_dump(content))
        return str(path)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as administrator."""
        return Kubectl(Path(self.kubeconfig_of("admin")))

    def _run(self, name: str, settings: dict[str, str], *, ready: Callable[[], bool] | None = None) -> None:
        self.servers.start(name, tool(name), flags(settings), ready=ready)

    def _write_credentials(self) -> None:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(self.folder / "ca.crt"))
        names = (network.NODE, network.API_SERVICE, "127.0.0.1", "kubernetes.default.svc", "kubernetes.default")
        server = ca.issue_cert(*names)
        client = ca.issue_cert("kube-apiserver", common_name="kube-apiserver", organization_name="system:masters")
        for name, cert in (("server", server), ("kubelet-client", client)):
            write_private(self.folder / f"{name}.key", cert.private_key_pem.bytes().decode())
            cert.cert_chain_pems[0].write_to_path(str(self.folder / f"{name}.crt"))
        lines = [f'{self._tokens[user]},{user},{user},"{group}"\n' for user, group in _USERS.items()]
        write_private(self.folder / "tokens.csv", "".join(lines))

    def _start_etcd(self) -> None:
        peer = "http://127.0.0.1:2380"
        settings = {
            "data-dir": str(self.folder / "etcd"),
            "listen-client-urls": _ETCD,
            "advertise-client-urls": _ETCD,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }
        self._run("etcd", settings)

    def start_api_server(self) -> None:
        """Start the API server, and wait until it is ready."""
        settings = {
            "etcd-servers": _ETCD,
            "bind-address": "0.0.0.0",  # noqa: S104 - of the namespace
            "advertise-address": network.NODE,
            # Pods reach it at its service's address without kube-proxy: the port is the service's own.
            "secure-port": "443",
            "service-cluster-ip-range": network.SERVICES,
            # Webhooks are called at the endpoints of their service, again without kube-proxy.
            "enable-aggregator-routing": "true",
            "tls-cert-file": "server.crt",
            "tls-private-key-file": "server.key",
            "client-ca-file": "ca.crt",
            "kubelet-client-certificate": "kubelet-client.crt",
            "kubelet-client-key": "kubelet-client.key",
            "kubelet-preferred-address-types": "InternalIP",
            "token-auth-file": "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": "server.key",
            "service-account-signing-key-file": "server.key",
            "allow-privileged": "true",
            "profiling": "false",
        }
        self._run("kube-apiserver", settings, ready=lambda: self.kubectl.run("get", "--raw", "/readyz").returncode == 0)

    def restart_api_server(self, *, away: float) -> None:
        """Kill the API server, and start it again after ``away`` seconds."""
        self.servers.stop("kube-apiserver", patience=0)
        time.sleep(away)
        self.start_api_server()

    def _start_controllers(self) -> None:
        settings = {
            "kubeconfig": self.kubeconfig_of("controllers"),
            "service-account-private-key-file": "server.key",
            "root-ca-file": "ca.crt",
            "use-service-account-credentials": "true",
            "leader-elect": "false",
            # Fresh namespaces wait for their claims, and a lost node's pods for it to be noticed.
            "pvclaimbinder-sync-period": "1s",
            "node-monitor-grace-period": "15s",
        }
        ready = ("get", "serviceaccount", "default")
        self._run("kube-controller-manager", settings, ready=lambda: self.kubectl.run(*ready).returncode == 0)
