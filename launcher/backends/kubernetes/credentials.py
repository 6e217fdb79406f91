"""Credential plug-ins of a kubeconfig (``users[].user.exec``), run with a deadline.

The client library would wait for one forever, and put whatever it wrote to stderr into its error.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from launcher.backends.kubernetes.kubeconfig import Access, Entry
from launcher.backends.kubernetes.redaction import redact
from launcher.errors import BackendUnusable
from launcher.output import printable

PLUGIN_SECONDS = 30.0
# A person may have to log in through a browser.
INTERACTIVE_SECONDS = 300.0
LAST_LINES = 3
_SKEW = timedelta(seconds=30)


@dataclass(frozen=True)
class Credential:
    """What a plug-in answered."""

    token: str | None = None
    certificate: str | None = None
    key: str | None = None
    expires: datetime | None = None

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether it is over, or nearly."""
        return self.expires is not None and self.expires - _SKEW <= (now or datetime.now(UTC))

    def as_user(self) -> Entry:
        """The same as a user entry of a kubeconfig."""
        entry = {"token": self.token} if self.token else {}
        if self.certificate and self.key:
            entry["client-certificate-data"] = base64.b64encode(self.certificate.encode()).decode()
            entry["client-key-data"] = base64.b64encode(self.key.encode()).decode()
        return entry


def run_plugin(access: Access, say: Callable[[str], None], *, seconds: float | None = None) -> Credential:
    """Ask the access's plug-in for a credential.

    Args:
        access: Whose user has an ``exec`` entry.
        say: Hears what the plug-in writes for the person at the terminal, redacted.
        seconds: Deadline; by default longer where a person may have to answer.

    Raises:
        BackendUnusable: It is missing, failed, hangs, or answered something else.
    """
    plugin = _Plugin(access, say)
    limit = seconds or (INTERACTIVE_SECONDS if plugin.interactive else PLUGIN_SECONDS)
    return plugin.read(plugin.run(limit))


class _Plugin:
    def __init__(self, access: Access, say: Callable[[str], None]) -> None:
        self._access = access
        self._exec: Entry = access.user["exec"]
        self._say = say
        self._command = str(self._exec.get("command") or "")
        self._heard: list[str] = []
        self._secrets = [str(item.get("value") or "") for item in self._exec.get("env") or []]
        mode = self._exec.get("interactiveMode", "IfAvailable")
        self.interactive = mode != "Never" and sys.stdin is not None and sys.stdin.isatty()

    def run(self, seconds: float) -> str:
        """Its stdout."""
        with self._start() as process:
            listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
            listener.start()
            watchdog = threading.Timer(seconds, _kill, [process, not self.interactive])
            watchdog.start()
            stdout = process.stdout.read() if process.stdout else ""
            code = process.wait()
            timed_out = not watchdog.is_alive()
            watchdog.cancel()
            listener.join(timeout=1)
        if timed_out:
            raise self._error(f"did not answer within {seconds:.0f} s")
        if code:
            raise self._error(f"failed with exit code {code}", stdout)
        return stdout

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, **{str(item["name"]): str(item["value"]) for item in self._exec.get("env") or []}}
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(self._request())
        try:
            return subprocess.Popen(
                [self._command, *map(str, self._exec.get("args") or [])],
                stdin=None if self.interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
                # What it starts must end with it at the deadline; an interactive one needs our terminal.
                start_new_session=not self.interactive,
            )
        except OSError as error:
            installing = printable(" ".join(str(self._exec.get("installHint") or "").split()))
            reason = "is not installed" if isinstance(error, FileNotFoundError) else f"cannot run: {error.strerror}"
            raise self._error(f"{reason}{': ' + installing if installing else ''}") from None

    def _request(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": self.interactive}
        if self._exec.get("provideClusterInfo"):
            cluster = self._access.cluster
            known = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
            spec["cluster"] = {key: cluster[key] for key in known if key in cluster}
            for extension in cluster.get("extensions") or []:
                if extension.get("name") == "client.authentication.k8s.io/exec":
                    spec["cluster"]["config"] = extension.get("extension")
        return {"apiVersion": self._exec.get("apiVersion"), "kind": "ExecCredential", "spec": spec}

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Keep what it writes to stderr; a person who has to log in must see it at once."""
        for line in process.stderr or ():
            self._heard.append(line.rstrip("\n"))
            if self.interactive:
                self._say(printable(redact(self._heard[-1], self._secrets)))

    def read(self, stdout: str) -> Credential:
        """The credential in its answer."""
        try:
            answer = json.loads(stdout)
            status = answer["status"]
            token, certificate, key = (status.get(part) for part in ("token", "clientCertificateData", "clientKeyData"))
            expires = status.get("expirationTimestamp")
            moment = datetime.fromisoformat(expires) if expires else None
            if moment is not None and moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._error("answered no ExecCredential", stdout) from None
        if answer.get("apiVersion") != self._exec.get("apiVersion"):
            raise self._error(f"answered another apiVersion than {self._exec.get('apiVersion')}", stdout)
        if not token and not (certificate and key):
            raise self._error("answered neither a token nor a certificate with its key", stdout)
        return Credential(token, certificate, key, moment)

    def _error(self, what: str, stdout: str = "") -> BackendUnusable:
        known = [*self._secrets, *_texts(stdout)]
        said = [printable(redact(line, known))[:300] for line in self._heard if line.strip()][-LAST_LINES:]
        lines = [
            f"the credential plug-in {self._command or '(no command)'} of {self._access.where} {what}",
            *(f"  it said: {line}" for line in said),
            "log in to the cluster again, or try the plug-in through `kubectl version`",
        ]
        return BackendUnusable("\n".join(lines))


def _texts(stdout: str) -> list[str]:
    """Every word of an answer that must not be shown, since it may be the credential itself."""
    words = stdout.replace('"', " ").replace(",", " ").split()
    return [word for word in words if len(word) >= 8]


def _kill(process: subprocess.Popen[str], with_group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if with_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
