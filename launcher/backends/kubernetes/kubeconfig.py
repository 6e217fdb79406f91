"""Which cluster, user and namespace: read from kubeconfig files as kubectl reads them, or from the pod we run in.

Read here rather than by the client library, because of several files that name something the first one must win, a
wrong name must be answered by the names that exist, and rendering a job needs the namespace and no client.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.backends.kubernetes.kinds import is_name
from launcher.errors import BackendUnusable, InvalidJob

Entry = dict[str, Any]

DEFAULT_NAMESPACE = "default"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Values that are paths relative to the file that holds them.
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


@dataclass(frozen=True)
class Target:
    """What the options say; None where they say nothing."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Access:
    """One way into one cluster."""

    context: str
    """Name of the context, or ``in-cluster``."""
    namespace: str
    source: str
    """The files it was read from, for messages."""
    cluster: Entry = field(default_factory=dict)
    user: Entry = field(default_factory=dict)
    in_cluster: bool = False

    @property
    def where(self) -> str:
        """The cluster in words."""
        return "the cluster of this pod" if self.in_cluster else f"context {self.context} of {self.source}"


@dataclass
class _Merged:
    """All files together; of two entries with the same name the first is kept."""

    source: str
    current: str | None = None
    contexts: dict[str, Entry] = field(default_factory=dict)
    clusters: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)


def choose(target: Target, environment: Mapping[str, str] = os.environ) -> Access:
    """The access that the options choose, or else the current context, or else the pod we run in.

    Raises:
        InvalidJob: The namespace is no name.
        BackendUnusable: A file, context, cluster or user is missing; the message names what exists.
    """
    if target.namespace is not None and not is_name(target.namespace):
        raise InvalidJob(
            f"--namespace: must be lower-case letters, digits and dashes, 63 at most (got {target.namespace!r})"
        )
    explicit = target.kubeconfig or environment.get("KUBECONFIG")
    files = _files(target.kubeconfig, environment)
    present = [file for file in files if file.is_file()]
    if not present and not explicit and not target.context and environment.get("KUBERNETES_SERVICE_HOST"):
        return Access("in-cluster", target.namespace or _pod_namespace(), "the service account", in_cluster=True)
    if not present:
        raise BackendUnusable(_no_file(target, files))
    return _select(_merge(present), target)


def _files(option: str | None, environment: Mapping[str, str]) -> list[Path]:
    if option:
        return [Path(option).expanduser()]
    listed = [part for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    return [Path(part).expanduser() for part in listed] or [Path.home() / ".kube" / "config"]


def _no_file(target: Target, files: list[Path]) -> str:
    named = "--kubeconfig" if target.kubeconfig else "KUBECONFIG, or the default"
    paths = ", ".join(str(file) for file in files)
    return (
        f"no kubeconfig file: {paths} does not exist ({named})\n"
        f"name one with --kubeconfig FILE, or train on this machine with --backend local"
    )


def _pod_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE


def _merge(files: list[Path]) -> _Merged:
    merged = _Merged(os.pathsep.join(str(file) for file in files))
    for file in files:
        content = _read(file)
        merged.current = merged.current or content.get("current-context") or None
        for key, kept in (("contexts", merged.contexts), ("clusters", merged.clusters), ("users", merged.users)):
            for name, entry in _entries(content, key, file):
                kept.setdefault(name, _absolute(entry, file.absolute().parent))
    return merged


def _read(file: Path) -> Entry:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise BackendUnusable(f"{file}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # Only the place: the text around it may be a credential.
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise BackendUnusable(f"{place}: not a kubeconfig file: not valid YAML") from None
    if not isinstance(content, dict):
        raise BackendUnusable(f"{file}: not a kubeconfig file: a mapping is expected")
    return content


def _entries(content: Entry, key: str, file: Path) -> list[tuple[str, Entry]]:
    singular = key.removesuffix("s")
    listed = content.get(key) or []
    if not isinstance(listed, list) or not all(isinstance(item, dict) and "name" in item for item in listed):
        raise BackendUnusable(f"{file}: {key}: must be a list of mappings with a name")
    return [(str(item["name"]), item.get(singular) or {}) for item in listed]


def _absolute(entry: Entry, folder: Path) -> Entry:
    """The entry with its paths seen from the folder of its file."""
    found: Entry = {key: str(folder / Path(entry[key]).expanduser()) for key in _PATHS if entry.get(key)}
    plugin = entry.get("exec")
    if isinstance(plugin, dict) and "/" in str(plugin.get("command", "")):
        found["exec"] = {**plugin, "command": str(folder / Path(plugin["command"]).expanduser())}
    return {**entry, **found}


def _select(merged: _Merged, target: Target) -> Access:
    name = target.context or merged.current
    if not name:
        raise BackendUnusable(f"{merged.source}: no current context; {_known(merged)}\nname one with --context")
    if name not in merged.contexts:
        asked = "--context" if target.context else "current-context"
        raise BackendUnusable(f"{merged.source}: there is no context {name!r} ({asked}); {_known(merged)}")
    context = merged.contexts[name]
    return Access(
        context=name,
        namespace=target.namespace or context.get("namespace") or DEFAULT_NAMESPACE,
        source=merged.source,
        cluster=_entry(merged.clusters, context.get("cluster"), "cluster", name, merged),
        user=_entry(merged.users, context["user"], "user", name, merged) if context.get("user") else {},
    )


def _known(merged: _Merged) -> str:
    names = ", ".join(merged.contexts)
    return f"contexts there: {names}" if names else "there are no contexts there"


def _entry(entries: dict[str, Entry], name: Any, kind: str, context: str, merged: _Merged) -> Entry:
    if name not in entries:
        there = ", ".join(entries) or "none"
        raise BackendUnusable(
            f"{merged.source}: context {context} names the {kind} {name!r}, which is not there; {kind}s there: {there}"
        )
    return entries[name]
