"""The cluster's server processes, on record in one file, so that a later process can use, restart and end them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import psutil

from tests.api.processes import Server, start

_STOP_SECONDS = 15.0


class State(TypedDict):
    """What the file holds: a pid with its start time is never somebody else's."""

    folder: str
    servers: dict[str, tuple[int, float]]


class Servers:
    """Starts servers by name and ends them by process id."""

    def __init__(self, record: Path, folder: Path, *, prefix: Sequence[str] = (), outlive: bool = False) -> None:
        """``prefix`` runs each in its place; with ``outlive`` they run on when this process ends."""
        self.folder = folder
        self._record = record
        self._prefix = prefix
        self._outlive = outlive
        self._state: State = {"folder": str(folder), "servers": {}}
        self._children: dict[str, Server] = {}

    @classmethod
    def recorded(cls, record: Path, *, prefix: Sequence[str] = ()) -> "Servers | None":
        """The servers that an earlier process started; None where there are none on record."""
        try:
            state: State = json.loads(record.read_text())
        except FileNotFoundError:
            return None
        found = cls(record, Path(state["folder"]), prefix=prefix, outlive=True)
        found._state = state
        return found

    def start(self, name: str, binary: Path, arguments: list[str], *, ready: Callable[[], bool] | None = None) -> None:
        """Start a server with a log of its name, and wait until it is ready.

        Raises:
            RuntimeError: It ended, or was not ready in time; with the end of its log.
        """
        log = self.folder / f"{name}.log"
        server = self._children[name] = start(binary, arguments, log, prefix=self._prefix, outlive=self._outlive)
        self._state["servers"][name] = (server.process.pid, psutil.Process(server.process.pid).create_time())
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps(self._state))
        if ready:
            server.wait_until(ready)

    def stop(self, name: str, *, patience: float = _STOP_SECONDS) -> None:
        """End the server, by force if it has not left by itself after ``patience`` seconds."""
        if process := self._process(name):
            process.terminate() if patience else process.kill()
            _, left = psutil.wait_procs([process], timeout=patience)
            for one in left:
                one.kill()
            psutil.wait_procs(left, timeout=_STOP_SECONDS)
        if child := self._children.pop(name, None):
            child.process.wait()

    def all_run(self) -> bool:
        """Whether every server on record still runs."""
        return all(self._process(name) for name in self._state["servers"])

    def runs(self, name: str) -> bool:
        """Whether that server runs."""
        return self._process(name) is not None

    def _process(self, name: str) -> psutil.Process | None:
        """The server's process, if it still is that one."""
        pid, created = self._state["servers"].get(name, (0, 0.0))
        try:
            process = psutil.Process(pid) if pid else None
            same = process and process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - created) < 1
        except psutil.NoSuchProcess:
            return None
        return process if same else None
