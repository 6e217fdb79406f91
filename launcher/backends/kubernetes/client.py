"""The one module that talks to Kubernetes: credentials, timeouts and the one retry policy.

The client library gives what is hard to get right: TLS, proxies, identity providers. Its generated classes are not
used: they validate more strictly than servers of other versions, and know no PyTorchJob; objects pass as plain dicts.
It takes a fifth of a second to import, so that happens at the first request.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from launcher import __version__
from launcher.backends.kubernetes import transport
from launcher.backends.kubernetes.credentials import Credential, run_plugin
from launcher.backends.kubernetes.errors import Answer, ApiError, Request, Unauthorized, error_of, read_answer
from launcher.backends.kubernetes.kinds import Object
from launcher.backends.kubernetes.kubeconfig import Access, Target, choose
from launcher.backends.kubernetes.redaction import Secrets, redact
from launcher.backends.kubernetes.retry import Policy, retry_after_seconds
from launcher.errors import BackendUnusable
from launcher.output import printable


@dataclass(frozen=True)
class Timeouts:
    """How long one try may take (seconds)."""

    connect: float = 5.0
    read: float = 30.0
    plugin: float | None = None
    """Of a credential plug-in; None takes its own default."""


@dataclass(frozen=True)
class Call:
    """One request, sent as often as needed: every write names its object, so a second one changes nothing more."""

    method: str
    path: str
    about: Request
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    content: str = "application/json"
    read_seconds: float | None = None
    """How long the server may be silent, where that differs from the client's timeout."""
    once: bool = False
    """Not worth a second try: something that the answer can do without."""


@dataclass
class _Session:
    """An open way to the server."""

    access: Access
    configuration: Any
    pool: Any
    credential: Credential | None

    @property
    def renewable(self) -> bool:
        """Whether asking again may give another credential."""
        user = self.access.user
        return self.access.in_cluster or any(key in user for key in ("exec", "tokenFile", "auth-provider"))


class Client:
    """Requests to one cluster as one user; safe to share between threads."""

    def __init__(
        self,
        target: Target,
        *,
        say: Callable[[str], None],
        policy: Policy | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Nothing is read or sent before the first request; ``say`` hears warnings and that a request is repeated."""
        self.say = say
        self._target = target
        self._policy = policy or Policy()
        self._timeouts = timeouts or Timeouts()
        self._secrets = Secrets()
        self._lock = threading.RLock()
        self._access: Access | None = None
        self._open: _Session | None = None
        self._said: set[str] = set()

    @property
    def access(self) -> Access:
        """The cluster, user and namespace that requests go to."""
        with self._lock:
            if self._access is None:
                self._access = choose(self._target)
            return self._access

    def json(self, call: Call) -> Object:
        """Send, and decode the answer.

        Raises:
            ApiError: The server refuses, or still does not answer at the deadline.
        """
        answer: Object = self._until_answered(call, lambda response: json.loads(response.data or b"{}"))
        return answer

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """Send, and give the answer line by line as it arrives; see `launcher.backends.kubernetes.transport.lines`."""
        response = self._until_answered(call, lambda response: response)
        try:
            yield transport.lines(response)
        finally:
            response.close()

    def _until_answered(self, call: Call, read: Callable[[Any], Any]) -> Any:
        """Send until there is an answer that sending again would not change, or the deadline."""
        give_up = time.monotonic() + self._policy.deadline_seconds
        renewed, tries = False, 0
        while True:
            try:
                return self._once(call, read)
            except Unauthorized:
                if renewed or not self._session().renewable:
                    raise
                renewed = True
                self._renew()
            except ApiError as error:
                tries += 1
                pause = self._policy.pause(tries, random.random(), error.retry_after)  # noqa: S311  no secret
                if call.once or not error.retryable or time.monotonic() + pause > give_up:
                    raise
                if tries == 1:
                    when = f" in {pause:.0f} s" if pause >= 1 else ""
                    self.say(f"{error.message.splitlines()[0]}; trying again{when}")
                time.sleep(pause)

    def _once(self, call: Call, read: Callable[[Any], Any]) -> Any:
        session = self._session()
        try:
            response = self._send(session, call)
            self._pass_on_warnings(response.headers.getlist("Warning"))
            if response.status < 300:
                return read(response)
            answer = read_answer(response.status, response.data, retry_after_seconds(response.headers))
        except transport.failures() as failure:
            words, is_final = transport.in_words(failure, self._timeouts.connect, self._read_seconds(call))
            answer = Answer(0, words, is_final=is_final)
        raise error_of(answer.without(self._secrets.hide), call.about)

    def _send(self, session: _Session, call: Call) -> Any:
        authorization = [setting["value"] for setting in session.configuration.auth_settings().values()]
        self._secrets.add(*(part for value in authorization for part in str(value).split()[1:]))
        headers = {
            "Accept": "application/json",
            "User-Agent": f"pytorchjob-launcher/{__version__}",
            **({"Content-Type": call.content} if call.body is not None else {}),
            **({"Authorization": authorization[0]} if authorization else {}),
        }
        return session.pool.request(
            call.method,
            transport.url(session.configuration.host, call.path, call.query),
            headers=headers,
            body=None if call.body is None else json.dumps(call.body).encode(),
            timeout=transport.timeout(self._timeouts.connect, self._read_seconds(call)),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def _read_seconds(self, call: Call) -> float:
        return self._timeouts.read if call.read_seconds is None else call.read_seconds

    def _pass_on_warnings(self, headers: list[str]) -> None:
        for header in headers:
            if text := header.partition('"')[2].rpartition('"')[0]:
                self._say_once(f"the cluster warns: {printable(self._secrets.hide(text))}")

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.say(message)

    def _session(self) -> _Session:
        with self._lock:
            if self._open is None or (self._open.credential and self._open.credential.is_expired()):
                self._open = self._connect(self.access)
            return self._open

    def _renew(self) -> None:
        with self._lock:
            self._open = None

    def _connect(self, access: Access) -> _Session:
        user, credential = access.user, None
        if user.get("exec"):
            credential = run_plugin(access, self.say, seconds=self._timeouts.plugin)
            self._secrets.add(credential.token, credential.key)
            user = credential.as_user()
        self._secrets.add(*(user.get(key) for key in ("token", "password")))
        if access.cluster.get("insecure-skip-tls-verify"):
            self._say_once(f"the server's identity is not checked: insecure-skip-tls-verify in {access.where}")
        import kubernetes

        try:
            configuration, pool = transport.connect(access, user, kubernetes)
        except Exception as error:  # noqa: BLE001  the library raises anything for a wrong entry
            words = printable(redact(" ".join(str(error).split()), [str(value) for value in user.values()]))
            raise BackendUnusable(f"cannot use {access.where}: {words or type(error).__name__}") from None
        return _Session(access, configuration, pool, credential)
