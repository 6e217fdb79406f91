"""Following objects: list, then watch from there, for as long as the caller listens.

Every way in which a watch ends is expected here: the server closes it after its time, or sooner; the connection breaks,
also within a line; it falls silent; the version is too old, said as an HTTP status or as an event. The client library's
own watch gives up on some of these and waits forever on others.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.errors import ApiError, Gone, Request, answer_of, error_of
from launcher.backends.kubernetes.kinds import Kind, Object, name_of, uid_of, version_of
from launcher.backends.kubernetes.transport import Broken


@dataclass(frozen=True)
class Pace:
    """How a watch is kept up (seconds)."""

    window: float = 10.0
    """The server ends each watch after this long; it is then resumed. A caller gets a turn at least this often."""
    silence: float = 15.0
    """Longer than ``window``: a connection that is silent for longer is dead."""
    pause: float = 1.0
    """Between tries where a watch brought nothing."""
    longest_pause: float = 10.0
    resync_windows: int = 30
    """After so many watches without a change everything is listed again: a server restored from a backup is silent."""
    trusted_failures: int = 3
    """After so many failures in a row the version itself is doubted, and everything is listed again."""


@dataclass(frozen=True)
class Change:
    """What became of an object: ``obj`` is its newest, or last, form."""

    obj: Object
    is_gone: bool = False


class _Lost(Exception):
    """The watch ended early; it can be resumed where it was."""


class Watcher:
    """Follows the objects of a kind that a field selector chooses."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        namespace: str | None,
        *,
        fields: str,
        pace: Pace | None = None,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._api = api
        self._kind = kind
        self._namespace = namespace
        self._fields = fields
        self._pace = pace or Pace()
        self._sleep = sleep
        self.window = self._pace.window
        """May be changed between two changes, to be given a turn more often."""
        self._known: dict[str, Object] = {}
        self._version = ""
        self._failures = 0
        self._quiet = 0

    def changes(self) -> Iterator[Change | None]:
        """Each object as it is, then each change once; None whenever a while has passed without one.

        This never ends of itself, and an outage of the server does not end it: only what trying again cannot mend
        raises. An object that was replaced by another of the same name between two looks is reported as gone first.

        Raises:
            ApiError: The server refuses, or the first list fails.
        """
        yield from self._relist()
        while True:
            try:
                yield from self._resume()
                yield None
                if self._quiet >= self._pace.resync_windows:
                    yield from self._relist()
            except Gone:
                yield from self._relist_patiently("its version is gone")
            except _Lost as lost:
                yield None
                yield from self._recover(str(lost))
            except ApiError as error:
                if not error.retryable:
                    raise
                yield None
                yield from self._recover(error.message.splitlines()[0])

    def _recover(self, reason: str) -> Iterator[Change | None]:
        """Before the watch is resumed: wait, and list again where the version may be to blame."""
        if self._failures and self._failures % self._pace.trusted_failures == 0:
            yield from self._relist_patiently(reason)
        else:
            self._rest(reason)

    def _relist_patiently(self, reason: str) -> Iterator[Change | None]:
        """List again; if that fails for now, the old version leads back here."""
        if self._failures:
            self._rest(reason)
        else:
            self._failures += 1
        try:
            yield from self._relist()
        except ApiError as error:
            if not error.retryable:
                raise
            yield None
            self._rest(error.message.splitlines()[0])

    def _relist(self) -> Iterator[Change]:
        """What differs between what is known and what there is."""
        listing = self._api.list(self._kind, self._namespace, fields=self._fields)
        self._version, self._quiet = listing.version, 0
        present = {name_of(obj): obj for obj in listing.items}
        for name, old in list(self._known.items()):
            if name not in present or uid_of(present[name]) != uid_of(old):
                yield from self._remove(old)
        for obj in present.values():
            yield from self._put(obj)

    def _resume(self) -> Iterator[Change]:
        """One watch, until the server ends it."""
        started, window, silent = time.monotonic(), self.window, True
        with self._api.watch(
            self._kind,
            self._namespace,
            version=self._version,
            fields=self._fields,
            window=window,
            silence=self._pace.silence,
        ) as lines:
            try:
                for line in lines:
                    yield from self._read(line)
                    self._failures, self._quiet, silent = 0, 0, False
            except Broken as broken:
                raise _Lost(str(broken)) from None
        if silent and time.monotonic() - started < window / 2:
            raise _Lost("the server ended it at once")
        self._failures = 0
        self._quiet += silent

    def _read(self, line: bytes) -> Iterator[Change]:
        try:
            event = json.loads(line)
            kind, obj = event["type"], event["object"]
            version = version_of(obj) if kind != "ERROR" else ""
        except (ValueError, KeyError, TypeError):
            raise _Lost("a line of the watch was cut off") from None
        if kind == "ERROR":
            raise error_of(answer_of(obj), Request("watch", self._kind.plural, namespace=self._namespace))
        self._version = version or self._version
        if kind == "DELETED":
            yield from self._remove(obj)
        elif kind in ("ADDED", "MODIFIED"):
            yield from self._put(obj)

    def _put(self, obj: Object) -> Iterator[Change]:
        name = name_of(obj)
        known = self._known.get(name)
        if known is None or version_of(known) != version_of(obj):
            self._known[name] = obj
            yield Change(obj)

    def _remove(self, obj: Object) -> Iterator[Change]:
        if self._known.pop(name_of(obj), None) is not None:
            yield Change(obj, is_gone=True)

    def _rest(self, reason: str) -> None:
        """Wait before the next try, longer each time; say so once it is more than a hiccup."""
        self._failures += 1
        if self._failures == 2:
            self._api.client.say(f"the watch was interrupted ({reason}); it goes on as soon as the cluster answers")
        self._sleep(min(self._pace.longest_pause, self._pace.pause * 2.0 ** min(self._failures - 1, 10)))
