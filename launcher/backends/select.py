"""Which backend a command talks to."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.backends.base import Backend
from launcher.backends.local.backend import LocalBackend
from launcher.errors import BackendUnusable, InvalidJob

LOCAL, KUBERNETES = "local", "kubernetes"


def choose_backend(
    name: str | None,
    results_dir: str | os.PathLike[str],
    *,
    say: Callable[[str], None] | None = None,
) -> Backend:
    """The named backend, or else Kubernetes where a cluster is configured and this machine where none is.

    Args:
        name: local, kubernetes, or None to look.
        results_dir: Root of the local backend's results.
        say: Told in one line when nobody asked for the local backend and it was taken.

    Raises:
        BackendUnusable: The backend cannot run anything at present.
    """
    if name not in (None, LOCAL, KUBERNETES):
        raise InvalidJob(f"--backend: must be {LOCAL} or {KUBERNETES} (got {name!r})")
    cluster = configured_cluster() if name is None else None
    if name == KUBERNETES or cluster:
        asked = "--backend kubernetes" if name else cluster
        raise BackendUnusable(
            f"kubernetes: this version of the launcher has no Kubernetes backend yet (chosen by {asked})\n"
            f"train on this machine with --backend local, or set LAUNCHER_BACKEND=local"
        )
    if name is None and say:
        say("no cluster is configured: running on this machine (--backend local)")
    return LocalBackend(Path(results_dir))


def configured_cluster(environment: Mapping[str, str] = os.environ) -> str | None:
    """What configures a cluster here: an environment variable, a file, or None."""
    for variable in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        if environment.get(variable):
            return variable
    return "~/.kube/config" if (Path.home() / ".kube" / "config").exists() else None
