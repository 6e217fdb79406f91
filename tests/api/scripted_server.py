"""An HTTP(S) server that follows a script, alone or in front of a real API server, and remembers every request.

    server = ScriptedServer(
        on("POST", r".*/pytorchjobs", too_many_requests(1), lose_reply()),
        on("GET", r".*/pytorchjobs", stream(half(event("ADDED", job)), then="cut"), watch=True),
        upstream=control_plane,
    )

Rules are tried in order. Each matching request takes its rule's next step, and the last one repeats. What no rule
matches goes upstream; without an upstream it gets 500 and is noted in ``unexpected``. The steps are in ``faults``.
"""

import http.client
import json
import re
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

from tests.api.control_plane import ControlPlane

_HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


@dataclass(frozen=True)
class Request:
    """A request as it arrived; ``at`` is in seconds of the monotonic clock."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{urllib.parse.urlencode(self.query)}" if self.query else self.path

    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


@dataclass
class Rule:
    """Which requests it is for, and the steps that are left for them."""

    method: str
    path: re.Pattern[str]
    steps: list["Step"]
    watch: bool | None

    def matches(self, request: Request) -> bool:
        """Whether the rule is for this request."""
        watching = request.query.get("watch") in ("true", "1", "True")
        fits = self.method == request.method and self.path.fullmatch(request.path)
        return bool(fits) and self.watch in (None, watching)

    def next_step(self) -> "Step":
        """The next step; the last one stays."""
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]


def on(method: str, path: str, *steps: "Step", watch: bool | None = None) -> Rule:
    """A rule for requests whose whole path matches ``path``; ``watch`` tells watches from lists."""
    return Rule(method, re.compile(path), list(steps), watch)


class Exchange(BaseHTTPRequestHandler):
    """One connection; what a step can do with a request."""

    protocol_version = "HTTP/1.1"
    script: "ScriptedServer"
    request_seen: Request

    def answer(self) -> None:
        """Note the request and take the step that the script has for it."""
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        headers = dict(self.headers.items())
        self.request_seen = Request(self.command, url.path, query, headers, body, time.monotonic())
        try:
            self.script.step_for(self.request_seen)(self)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 (names of the base class)

    def reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole reply."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self, status: int = 200, content_type: str = "application/json") -> None:
        """The head of a reply of unknown length."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, content: bytes) -> None:
        """A part of a stream; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def ask_upstream(self) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        """Let the API server behind this one process the request; its reply, still unread."""
        plane, request = self.script.upstream, self.request_seen
        assert plane, "this step needs an upstream"
        tls = ssl.create_default_context(cafile=str(plane.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", plane.port, context=tls)
        connection.request(request.method, request.target, request.body or None, _end_to_end(request.headers))
        return connection, connection.getresponse()

    def forward(self) -> None:
        """Pass the request upstream and the reply back, a stream as it comes."""
        connection, response = self.ask_upstream()
        headers = _end_to_end(dict(response.getheaders()))
        try:
            if response.chunked:
                self.begin_stream(response.status, headers.get("Content-Type", ""))
                while part := response.read1(65536):
                    self.chunk(part)
                self.chunk(b"")
            else:
                self.reply(response.status, response.read(), headers)
        finally:
            connection.close()

    def say_unscripted(self) -> None:
        """The script has no answer: tell the client, and the test by ``unexpected``."""
        text = f"the script has no answer to {self.command} {self.path}"
        self.reply(500, text.encode(), {"Content-Type": "text/plain"})

    def hang_up(self) -> None:
        """Close the connection whatever was sent so far."""
        self.close_connection = True

    def wait_for_stop(self) -> None:
        """Send nothing more until the server stops."""
        self.script.stopping.wait()
        self.hang_up()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name in the base class)
        """Keep quiet: the request log is the record."""


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_HEADERS}


Step = Callable[[Exchange], None]


@dataclass
class ScriptedServer:
    """A started server; ``stop`` ends it."""

    rules: list[Rule]
    upstream: ControlPlane | None = None
    ca: trustme.CA | None = None
    requests: list[Request] = field(default_factory=list)
    unexpected: list[Request] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        handler = type("ScriptedExchange", (Exchange,), {"script": self})
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if self.ca:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ca.issue_cert("127.0.0.1").configure_cert(tls)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def ca_pem(self) -> bytes | None:
        """The certificate to trust, with TLS."""
        return self.ca.cert_pem.bytes() if self.ca else None

    def seen(self, method: str, path: str = r".*") -> list[Request]:
        """The requests so far with that method and path."""
        with self._lock:
            return [one for one in self.requests if one.method == method and re.fullmatch(path, one.path)]

    def step_for(self, request: Request) -> Step:
        """Note a request and choose its step."""
        with self._lock:
            self.requests.append(request)
            rule = next((rule for rule in self.rules if rule.matches(request)), None)
            if rule:
                return rule.next_step()
            if self.upstream:
                return Exchange.forward
            self.unexpected.append(request)
            return Exchange.say_unscripted

    def stop(self) -> None:
        """Stop serving; whoever still waits for an answer is cut off."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
