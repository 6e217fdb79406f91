"""What a scripted server can do with a request: refusals, faults of the connection, and the lines of a watch."""

import json
import threading
from collections.abc import Mapping
from typing import Any, Literal

from tests.api.scripted_server import Exchange, Step

End = Literal["end", "cut", "silence"]


def answer(code: int, body: Any, headers: Mapping[str, str] | None = None) -> Step:
    """A reply with a JSON body, or with bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda exchange: exchange.reply(code, content, headers or {})


def status(code: int, reason: str, message: str, headers: Mapping[str, str] | None = None, **details: Any) -> Step:
    """A refusal as the API server writes it."""
    return answer(code, _status(code, reason, message, **details), headers)


def too_many_requests(retry_after: int) -> Step:
    """429, as a server under load answers."""
    text = "the server has received too many requests and has asked us to try again later"
    return status(429, "TooManyRequests", text, {"Retry-After": str(retry_after)}, retryAfterSeconds=retry_after)


def unavailable() -> Step:
    """503 with a body that is no Status, as a load balancer without backends answers."""
    return answer(503, b"<html><body>no backend is available</body></html>", {"Content-Type": "text/html"})


def unauthorized() -> Step:
    """401, as for an expired token."""
    return status(401, "Unauthorized", "Unauthorized")


def gone() -> Step:
    """410 as HTTP status: the version to watch from is too old."""
    return status(410, "Expired", "too old resource version: 1 (2)")


def forward() -> Step:
    """Let the API server behind this one answer."""
    return Exchange.forward


def lose_reply() -> Step:
    """The API server processes the request, and the connection closes before the reply."""

    def step(exchange: Exchange) -> None:
        connection, response = exchange.ask_upstream()
        response.read()
        connection.close()
        exchange.hang_up()

    return step


def drop() -> Step:
    """The connection closes; nobody processed the request."""
    return Exchange.hang_up


def silence() -> Step:
    """The request is taken and never answered."""
    return Exchange.wait_for_stop


def after(ready: threading.Event, step: Step) -> Step:
    """Take the step once the test sets ``ready``."""

    def wait(exchange: Exchange) -> None:
        ready.wait()
        step(exchange)

    return wait


def stream(*chunks: bytes, then: End = "end") -> Step:
    """Send chunks, then end properly, cut the connection, or say nothing more."""

    def step(exchange: Exchange) -> None:
        exchange.begin_stream()
        for chunk in chunks:
            exchange.chunk(chunk)
        {"end": lambda: exchange.chunk(b""), "cut": exchange.hang_up, "silence": exchange.wait_for_stop}[then]()

    return step


# --- lines of a watch ----------------------------------------------------------------------------------------------


def event(kind: str, obj: Any) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def half(line: bytes) -> bytes:
    """The first half of a line."""
    return line[: len(line) // 2]


def bookmark(version: str) -> bytes:
    """A bookmark: everything up to that version was sent."""
    return event("BOOKMARK", {"kind": "PyTorchJob", "metadata": {"resourceVersion": version}})


def gone_event() -> bytes:
    """410 as an event inside a watch that was accepted."""
    return event("ERROR", _status(410, "Expired", "too old resource version: 1 (2)"))


def _status(code: int, reason: str, message: str, **details: Any) -> dict[str, Any]:
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return head | {"message": message, "reason": reason, "details": details, "code": code}
