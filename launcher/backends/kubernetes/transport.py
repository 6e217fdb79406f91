"""What lies between a request and the socket: opening a connection pool, reading streams, naming failures."""

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from launcher.backends.kubernetes.kubeconfig import Access, Entry

BLOCK = 1 << 16


class Broken(Exception):
    """A stream ended before its end; the message says how."""


def connect(access: Access, user: Entry, library: Any) -> tuple[Any, Any]:
    """The library's configuration for ``access``, and its connection pool.

    Args:
        access: Where to go.
        user: A kubeconfig's user entry without a plug-in.
        library: The package ``kubernetes``; only the client module imports it.
    """
    import urllib3

    configuration = library.client.Configuration()
    if access.in_cluster:
        library.config.load_incluster_config(client_configuration=configuration)
    else:
        library.config.load_kube_config_from_dict(
            {
                "current-context": access.context,
                "contexts": [{"name": access.context, "context": {"cluster": "cluster", "user": "user"}}],
                "clusters": [{"name": "cluster", "cluster": access.cluster}],
                "users": [{"name": "user", "user": user}],
            },
            client_configuration=configuration,
            persist_config=False,
        )
    if not configuration.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # said once, in our words
    return configuration, library.client.ApiClient(configuration).rest_client.pool_manager


def url(host: str, path: str, query: Mapping[str, str]) -> str:
    """The address of one request."""
    return f"{host}{path}?{urlencode(query)}" if query else f"{host}{path}"


def timeout(connect_seconds: float, read_seconds: float) -> Any:
    """Both limits of one try."""
    import urllib3

    return urllib3.Timeout(connect=connect_seconds, read=read_seconds)


def failures() -> tuple[type[Exception], ...]:
    """What a pool raises when there is no answer; ValueError where it is no JSON, or the stream was closed."""
    from urllib3.exceptions import HTTPError

    return (HTTPError, OSError, ValueError)


def in_words(failure: Exception, connect_seconds: float, read_seconds: float) -> tuple[str, bool]:
    """What happened, and whether trying again would be in vain."""
    from urllib3 import exceptions

    failure = _innermost(failure)
    if isinstance(failure, exceptions.SSLError):
        return f"TLS: {failure}", True
    if isinstance(failure, exceptions.NameResolutionError):
        return "the server's name is unknown here", False
    if isinstance(failure, (exceptions.ProxyError, exceptions.NewConnectionError)):  # some versions: also a timeout
        return f"no connection: {_system_words(failure)}", False
    if isinstance(failure, exceptions.ConnectTimeoutError):
        return f"no connection within {connect_seconds:.0f} s", False
    if isinstance(failure, exceptions.ReadTimeoutError):
        return f"no answer within {read_seconds:.0f} s", False
    if isinstance(failure, ValueError) and not isinstance(failure, exceptions.HTTPError):
        return "the answer is not JSON", False
    return f"the connection broke: {_system_words(failure)}", False


def _innermost(failure: Exception) -> Exception:
    """The reason inside a MaxRetryError."""
    reason = getattr(failure, "reason", None)
    return reason if isinstance(reason, Exception) else failure


def _system_words(failure: Exception) -> str:
    """The operating system's words for the error behind ``failure``; a library's own text may quote addresses."""
    seen: BaseException | None = failure
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None and seen.errno in errno.errorcode:
            return os.strerror(seen.errno).lower()
        inner = [arg for arg in seen.args if isinstance(arg, BaseException)]
        seen = inner[0] if inner else (seen.__cause__ or seen.__context__)
    return "closed without an answer" if not isinstance(failure, socket.gaierror) else "unknown name"


def lines(response: Any) -> Iterator[bytes]:
    """Whole lines of a streamed answer without their ends, as they arrive.

    The last line is given although it has no end only where the answer as a whole ended properly.

    Raises:
        Broken: The connection ended, or fell silent, in the middle.
    """
    rest = b""
    try:
        for block in _blocks(response):
            *whole, rest = (rest + block).split(b"\n") if b"\n" in block else (rest + block,)
            yield from whole
    except failures() as failure:
        raise Broken(in_words(failure, 0, 0)[0]) from None
    if rest:
        yield rest


def _blocks(response: Any) -> Iterator[bytes]:
    """Bytes as soon as there are some; ``stream`` alone would wait for a full block unless the answer is chunked."""
    if response.chunked and response.supports_chunked_reads():
        yield from response.stream(BLOCK, decode_content=True)
        return
    while block := response.read1(BLOCK):
        yield block
