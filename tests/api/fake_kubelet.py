"""What a kubelet answers when the API server asks it for a container's log: a test writes the lines."""

import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

# Lines get rising times from here on, so that `since` and `timestamps` have known answers.
START = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Log:
    """One container's output."""

    lines: list[tuple[datetime, bytes]] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class LogQuery:
    """The part of a request for a log that a kubelet understands."""

    follow: bool
    timestamps: bool
    tail: int | None
    since: datetime | None

    @classmethod
    def parse(cls, query: dict[str, list[str]]) -> "LogQuery":
        """From the query of the URL."""
        values = {name: given[-1] for name, given in query.items()}
        tail, since = values.get("tailLines"), values.get("sinceTime")
        return cls(
            follow=values.get("follow") == "true",
            timestamps=values.get("timestamps") == "true",
            tail=None if tail is None else int(tail),
            since=None if since is None else datetime.fromisoformat(since),
        )

    def wants(self, time: datetime) -> bool:
        """Whether a line of that time is asked for."""
        return self.since is None or time >= self.since

    def show(self, time: datetime, line: bytes) -> bytes:
        """The line as it is sent."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() if self.timestamps else b""
        return stamp + line


class FakeKubelet:
    """Serves ``/containerLogs/NAMESPACE/POD/CONTAINER`` over TLS on a loopback port."""

    def __init__(self, ca: trustme.CA) -> None:
        self._logs: dict[tuple[str, str, str, bool], Log] = {}
        self._changed = threading.Condition()
        self._cuts = 0
        self._clock = START
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(tls)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that a node's status has to name."""
        return int(self._server.server_address[1])

    def write(
        self, namespace: str, pod: str, text: str | bytes, *, container: str = "pytorch", previous: bool = False
    ) -> None:
        """Add output to a container's log; each line is a second after the line before, over all logs."""
        content = text.encode() if isinstance(text, str) else text
        with self._changed:
            log = self._logs.setdefault((namespace, pod, container, previous), Log())
            for line in content.splitlines(keepends=True):
                self._clock += timedelta(seconds=1)
                log.lines.append((self._clock, line))
            self._changed.notify_all()

    def end(self, namespace: str, pod: str, *, container: str = "pytorch") -> None:
        """Let the container end: those who follow its log see the end of it."""
        with self._changed:
            self._logs.setdefault((namespace, pod, container, False), Log()).ended = True
            self._changed.notify_all()

    def cut(self) -> None:
        """Close the connection of everyone who follows a log, as a node's restart does."""
        with self._changed:
            self._cuts += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop serving."""
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def exists(self, log: tuple[str, str, str, bool]) -> bool:
        """Whether anything was written to, or said about, that log."""
        return log in self._logs

    def read(self, name: tuple[str, str, str, bool], query: LogQuery) -> Iterator[bytes]:
        """The lines that the query asks for; goes on as the log grows when it says follow."""
        log, cuts = self._logs[name], self._cuts
        with self._changed:
            known = list(log.lines)
        chosen = [line for line in known if query.wants(line[0])]
        first = 0 if query.tail is None else max(0, len(chosen) - query.tail)
        yield from (query.show(*line) for line in chosen[first:])
        sent, over = len(known), not query.follow
        while not over:
            new, over = self._wait_for_more(log, sent, cuts)
            yield from (query.show(*line) for line in new)
            sent += len(new)

    def _wait_for_more(self, log: Log, sent: int, cuts: int) -> tuple[list[tuple[datetime, bytes]], bool]:
        """Lines after the first ``sent``, and whether they are the last ones for this connection."""
        with self._changed:
            self._changed.wait_for(lambda: len(log.lines) > sent or log.ended or self._cuts > cuts)
            return log.lines[sent:], log.ended or self._cuts > cuts


def _handler(kubelet: FakeKubelet) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            query = urllib.parse.parse_qs(url.query)
            _, _, namespace, pod, container = url.path.split("/")
            name = (namespace, pod, container, query.get("previous") == ["true"])
            if kubelet.exists(name):
                self._stream(kubelet.read(name, LogQuery.parse(query)))
            else:
                self._refuse(name)

        def _stream(self, lines: Iterator[bytes]) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in lines:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def _refuse(self, name: tuple[str, str, str, bool]) -> None:
            _, pod, container, previous = name
            known = f'container "{container}" in pod "{pod}"'
            text = f"previous terminated {known} not found" if previous else f"{known} is waiting to start"
            self.send_response(400)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name in the base class)
            pass

    return Handler
