"""The verbs of the API on the kinds that the launcher knows, as plain dicts."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from launcher.backends.kubernetes.client import Call, Client
from launcher.backends.kubernetes.errors import ApiError, Gone, Request
from launcher.backends.kubernetes.kinds import JOB, POD, Kind, Object, name_of, version_of

FIELD_MANAGER = "launcher"
PAGE = 200
MERGE_PATCH = "application/merge-patch+json"

Lines = AbstractContextManager[Iterator[bytes]]


@dataclass(frozen=True)
class Listing:
    """All objects that matched, at one version."""

    items: tuple[Object, ...]
    version: str


class Api:
    """What can be asked of a cluster. Every method raises launcher.backends.kubernetes.errors.ApiError."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def namespace(self) -> str:
        """The namespace that the options or the context choose."""
        return self.client.access.namespace

    def minor_version(self) -> int:
        """The server's minor version; 0 where it does not say."""
        about = Request("read", "the version of the server", where=self.client.access.where)
        try:
            text = str(self.client.json(Call("GET", "/version", about, once=True)).get("minor", ""))
        except ApiError:
            return 0
        digits = re.match(r"\d+", text)
        return int(digits[0]) if digits else 0

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """One object.

        Raises:
            NotFound: There is none.
        """
        return self.client.json(Call("GET", kind.path(namespace, name), self._about("read", kind, name, namespace)))

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Listing:
        """All objects of a kind that match, read in pages."""
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        call = Call("GET", kind.path(namespace), self._about("list", kind, "", namespace), query)
        try:
            return self._pages(call, {"limit": str(PAGE)})
        except Gone:  # so many, or so slow, that the next page's version is no longer kept
            return self._pages(call, {})

    def create(self, kind: Kind, obj: Object, namespace: str | None, *, dry_run: bool = False) -> Object:
        """Create an object, which must bear its name, so that a repeated request cannot make a second one."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        about = self._about("create", kind, name_of(obj), namespace)
        return self.client.json(Call("POST", kind.path(namespace), about, query, obj))

    def patch(self, kind: Kind, name: str, namespace: str | None, change: Object) -> Object:
        """Merge ``change`` into an object."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        about = self._about("patch", kind, name, namespace)
        return self.client.json(Call("PATCH", kind.path(namespace, name), about, query, change, MERGE_PATCH))

    def delete(
        self, kind: Kind, name: str, namespace: str | None, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> None:
        """Delete an object; a job only after all that it owns, so that when it is gone everything is.

        Args:
            kind: Its kind.
            name: Its name.
            namespace: Its namespace.
            uid: Delete only the object with this identity, not a later one of the same name.
            grace_seconds: How long a pod may take to leave.
        """
        body: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if kind is JOB else "Background",
        }
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        about = self._about("delete", kind, name, namespace)
        self.client.json(Call("DELETE", kind.path(namespace, name), about, body=body))

    def watch(
        self, kind: Kind, namespace: str | None, *, version: str, fields: str, window: float, silence: float
    ) -> Lines:
        """Lines of changes since ``version``; see `launcher.backends.kubernetes.watching`.

        Args:
            kind: What to watch.
            namespace: Where.
            version: Where to go on from.
            fields: Which objects.
            window: After how many seconds the server ends the stream.
            silence: After how many seconds without a byte the connection counts as broken.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(window))),
            **({"fieldSelector": fields} if fields else {}),
        }
        about = self._about("watch", kind, "", namespace)
        return self.client.stream(Call("GET", kind.path(namespace), about, query, read_seconds=silence))

    def pod_log(
        self, pod: str, namespace: str, query: Mapping[str, str], *, silence: float | None = None, once: bool = False
    ) -> Lines:
        """Lines of a container's log, without their ends; ``once`` where they are not worth a second try."""
        about = Request("read", "the log of pod", pod, namespace, self.client.access.where)
        path = POD.path(namespace, pod) + "/log"
        return self.client.stream(Call("GET", path, about, query, read_seconds=silence, once=once))

    def _about(self, verb: str, kind: Kind, name: str, namespace: str | None) -> Request:
        return Request(verb, kind.plural, name, namespace, self.client.access.where)

    def _pages(self, call: Call, limit: Mapping[str, str]) -> Listing:
        items: list[Object] = []
        page: dict[str, str] = {}
        while True:
            answer = self.client.json(replace(call, query={**call.query, **limit, **page}))
            items += answer.get("items") or []
            if not (more := answer["metadata"].get("continue")):
                return Listing(tuple(items), version_of(answer))
            page = {"continue": more}
