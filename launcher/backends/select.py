"""Which backend a command talks to."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import click

from launcher.backends.base import Backend
from launcher.backends.kubernetes.kubeconfig import Target
from launcher.errors import InvalidJob

LOCAL, KUBERNETES = "local", "kubernetes"


def choose_backend(
    name: str | None,
    results_dir: str | os.PathLike[str],
    *,
    target: Target | None = None,
    say: Callable[[str], None] | None = None,
) -> Backend:
    """The named backend, or else Kubernetes where a cluster is configured and this machine where none is.

    Args:
        name: local, kubernetes, or None to look.
        results_dir: Root of the local backend's results.
        target: Which cluster and namespace; ``--kubeconfig`` and ``--context`` ask for Kubernetes by themselves.
        say: Told in one line when nobody asked for the local backend and it was taken, and what it does not use.
    """
    target = target or Target()
    if name not in (None, LOCAL, KUBERNETES):
        raise InvalidJob(f"--backend: must be {LOCAL} or {KUBERNETES} (got {name!r})")
    asked = target.kubeconfig or target.context
    if name == KUBERNETES or (name is None and (asked or configured_cluster())):
        from launcher.backends.kubernetes.backend import KubernetesBackend

        return KubernetesBackend(target)
    from launcher.backends.local.backend import LocalBackend

    if name is None and say:
        say("no cluster is configured: running on this machine (--backend local)")
    unused = [option for option, value in asdict(target).items() if value]
    if unused:
        click.echo(f"not used by the local backend: {', '.join(f'--{option}' for option in unused)}", err=True)
    return LocalBackend(Path(results_dir))


def configured_cluster(environment: Mapping[str, str] = os.environ) -> str | None:
    """What configures a cluster here: an environment variable, a file, or None."""
    for variable in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        if environment.get(variable):
            return variable
    return "~/.kube/config" if (Path.home() / ".kube" / "config").exists() else None
