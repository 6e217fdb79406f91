"""What the API server refuses, as exceptions that say it in the server's own words and name the next step.

ApiError
  +- Unreachable              no answer at all
  +- Unauthorized    401
  +- Forbidden       403
  +- NotFound        404
  +- TypeMissing     404      the server does not know the kind of object
  +- Conflict        409
  +- Gone            410      a version too old to watch from
  +- Invalid         400, 413, 422
  +- TooManyRequests 429
  +- ServerError     5xx
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from launcher.backends.kubernetes.retry import RETRYABLE
from launcher.errors import LauncherError, LauncherExit
from launcher.output import printable

LONGEST = 2000


@dataclass(frozen=True)
class Request:
    """What was asked of the server, for messages."""

    verb: str
    """Such as ``create``."""
    kind: str
    """Plural name of the kind."""
    name: str = ""
    namespace: str | None = None
    where: str = ""
    """The context, or the address, that was asked."""

    def __str__(self) -> str:
        """The request in words."""
        what = f"{self.kind} {self.name}".rstrip()
        return f"cannot {self.verb} {what}" + (f" in namespace {self.namespace}" if self.namespace else "")


@dataclass(frozen=True)
class Cause:
    """One field that the server found wrong."""

    field: str
    message: str


@dataclass(frozen=True)
class Answer:
    """A refusal as it came."""

    status: int
    """HTTP status; 0 when there was no answer."""
    message: str = ""
    """The server's own words."""
    reason: str = ""
    """One word of the API, such as AlreadyExists."""
    causes: tuple[Cause, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    is_status: bool = False
    """Whether the API itself answered, rather than something on the way."""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""
    is_final: bool = False
    """Whether asking again is in vain, although there was no answer."""

    def without(self, hide: Callable[[str], str]) -> "Answer":
        """The same with credentials hidden that the server may have repeated."""
        causes = tuple(Cause(hide(cause.field), hide(cause.message)) for cause in self.causes)
        return replace(self, message=hide(self.message), causes=causes)


class ApiError(LauncherError):
    """A request that the server refused."""

    hint = ""

    def __init__(self, answer: Answer, request: Request) -> None:
        self.answer = answer
        self.request = request
        hint, code = _known_text(answer.message)
        if code is not None:
            self.__dict__["exit_code"] = int(code)  # click declares it for the class only
        super().__init__("\n".join([*self._lines(), *filter(None, [hint or self.hint.format(request=request)])]))

    @property
    def status(self) -> int:
        """HTTP status; 0 when there was no answer."""
        return self.answer.status

    @property
    def reason(self) -> str:
        """The server's own words on one line, or what the status means."""
        return _one_line(self.answer.message) or f"{self.status} {_phrase(self.status)}"

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return not self.answer.is_final and (self.status == 0 or self.status in RETRYABLE)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait before the next try."""
        return self.answer.retry_after

    def _lines(self) -> list[str]:
        fields = [f"  {cause.field}: {_one_line(cause.message)}" for cause in self.answer.causes if cause.field]
        return [f"{self.request}: {self.reason}", *fields]


class Unreachable(ApiError):
    """The server did not answer, or not in time."""

    exit_code = int(LauncherExit.UNUSABLE)
    hint = "check the address, the network or VPN, and `kubectl version` ({request.where})"


class Unauthorized(ApiError):
    """The server does not know who is asking."""

    exit_code = int(LauncherExit.UNUSABLE)
    hint = "the credentials are missing, wrong or expired: log in to the cluster again ({request.where})"


class Forbidden(ApiError):
    """The user may not do this."""

    exit_code = int(LauncherExit.UNUSABLE)
    hint = "ask an administrator for the right to {request.verb} {request.kind} there, or choose a namespace with -n"


class NotFound(ApiError):
    """There is no such object."""

    exit_code = int(LauncherExit.NOT_FOUND)


class NamespaceMissing(NotFound):
    """There is no such namespace."""

    exit_code = int(LauncherExit.UNUSABLE)
    hint = "choose another namespace with -n, or ask an administrator to create this one ({request.where})"


class TypeMissing(ApiError):
    """The server does not know the kind of object."""

    exit_code = int(LauncherExit.UNUSABLE)
    hint = "the Kubeflow training operator is missing on this cluster ({request.where}): install it, see k8s/README.md"

    def _lines(self) -> list[str]:
        return [f"{self.request}: the cluster has no such type ({self.request.kind})"]


class Conflict(ApiError):
    """The object exists already, or is not the one that was meant."""


class Gone(ApiError):
    """A version that the server no longer keeps."""


class Invalid(ApiError):
    """The object is not acceptable."""

    exit_code = int(LauncherExit.USAGE)


class TooManyRequests(ApiError):
    """The server asks for patience."""

    exit_code = int(LauncherExit.UNUSABLE)
    hint = "the cluster is overloaded; try again later"


class ServerError(ApiError):
    """The server failed."""

    exit_code = int(LauncherExit.UNUSABLE)
    hint = "the cluster does not work properly at present; try again later, or tell its administrator"


_BY_STATUS: dict[int, type[ApiError]] = {
    0: Unreachable,
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
}

QUOTA_HINT = "ask for less, end other jobs of the namespace (`launcher list`), or ask an administrator for more quota"
SECURITY_HINT = (
    "the namespace's Pod Security level refuses this pod: remove what the message names, or use another namespace"
)
_KNOWN_TEXTS: tuple[tuple[str, str, LauncherExit | None], ...] = (
    ("exceeded quota", QUOTA_HINT, LauncherExit.DOES_NOT_FIT),
    ("violates PodSecurity", SECURITY_HINT, None),
    (
        "status unknown for quota",
        "the cluster has not counted the namespace's quota yet, as within its first half minute: try again",
        LauncherExit.UNUSABLE,
    ),
    (
        "failed calling webhook",
        "the webhook's own service does not answer: is the operator that it belongs to running?",
        LauncherExit.UNUSABLE,
    ),
    (
        "denied the request",
        "a rule of this cluster refuses the job: change what the message names, or ask an administrator",
        LauncherExit.USAGE,
    ),
)


def _known_text(message: str) -> tuple[str, LauncherExit | None]:
    """The next step, and the exit code, for messages that users meet often."""
    for text, hint, code in _KNOWN_TEXTS:
        if text in message:
            return hint, code
    return "", None


def error_of(answer: Answer, request: Request) -> ApiError:
    """The exception for a refusal."""
    kind = _BY_STATUS.get(answer.status, ServerError if answer.status >= 500 else ApiError)
    if kind is NotFound and not answer.is_status:
        kind = TypeMissing  # the server answers an unknown path in plain text
    elif kind is NotFound and answer.details.get("kind") == "namespaces":
        kind = NamespaceMissing
    return kind(answer, request)


def read_answer(status: int, body: bytes, retry_after: float | None = None) -> Answer:
    """The refusal in a response; the body of anything but the API itself stays unread: it may hold anything."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("kind") != "Status":
        return Answer(status, retry_after=retry_after)
    answer = answer_of(content)
    return replace(answer, status=status, retry_after=retry_after or answer.retry_after)


def answer_of(content: dict[str, Any]) -> Answer:
    """The refusal in a Status object."""
    details = content.get("details") or {}
    causes = details.get("causes") or []
    seconds = details.get("retryAfterSeconds")
    return Answer(
        status=int(content.get("code") or 0),
        message=str(content.get("message") or ""),
        reason=str(content.get("reason") or ""),
        causes=tuple(Cause(str(cause.get("field") or ""), str(cause.get("message") or "")) for cause in causes),
        details=details,
        is_status=True,
        retry_after=float(seconds) if isinstance(seconds, (int, float)) and seconds > 0 else None,
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no HTTP status)"


def _one_line(text: str) -> str:
    """A server's words on one line, without characters that steer a terminal."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else line[:LONGEST] + "..."
