"""A headless Chromium that opens pages without a network, driven over its DevTools protocol by a pair of pipes.

As a program, ``python -m tests.browser``, it installs one where there is none and root has apt-get, or says
that it cannot; the tests that need one are skipped then.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = f"no browser here ({', '.join(PROGRAMS)}): apt-get install chromium"
_SWITCHES = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # as root, in a container; it opens our own pages only
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--force-device-scale-factor=1",
)
_SECONDS = 60.0


def program() -> str | None:
    """A browser of this machine."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def install() -> None:
    """Install Debian's browser where there is none."""
    if program():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"reports will not be opened: {MISSING}", file=sys.stderr)
        return
    print("installing chromium, in which reports are opened", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
    if done.returncode:
        print(f"apt-get install chromium failed: {done.stderr.strip()[-1000:]}", file=sys.stderr)


@dataclass
class OpenPage:
    """A page after it loaded."""

    facts: dict[str, Any]
    """What the expression gave that was evaluated in it."""
    screenshot: bytes
    """The whole page, PNG."""
    requests: list[str] = field(default_factory=list)
    """URLs that it asked for; ``data:`` is none."""
    errors: list[str] = field(default_factory=list)
    """Errors and warnings that it wrote to the console, such as what its security policy refused."""


class Browser:
    """One process; a new tab for each page."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def open(self, page: Path, *, width: int, expression: str, height: int = 800, dark: bool = False) -> OpenPage:
        """Open ``page`` in a window of ``width`` CSS pixels and evaluate ``expression`` once it has loaded."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._events.clear()
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._ask(f"{domain}.enable", session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", session, features=[scheme])
        self._ask("Page.navigate", session, url=page.absolute().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._message())
        value = self._ask("Runtime.evaluate", session, expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in value, value
        picture = self._ask("Page.captureScreenshot", session, captureBeyondViewport=True)["data"]
        self._ask("Target.closeTarget", targetId=target)
        opened = OpenPage(value["result"]["value"], base64.b64decode(picture))
        for event in self._events:
            _note(opened, event["method"], event["params"])
        return opened

    def close(self) -> None:
        """Hang up, which ends it."""
        self._commands.close()
        self._answers.close()

    def _ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        self._commands.write(json.dumps({**command, **({"sessionId": session} if session else {})}).encode() + b"\0")
        while (message := self._message()).get("id") != self._number:
            self._events.append(message)
        assert "error" not in message, f"{method}: {message['error']}"
        result: dict[str, Any] = message["result"]
        return result

    def _message(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            assert time.monotonic() < end, "the browser says nothing"
            piece = os.read(self._answers.fileno(), 1 << 16)
            assert piece, "the browser ended"
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


def _note(opened: OpenPage, method: str, event: dict[str, Any]) -> None:
    if method == "Network.requestWillBeSent" and not event["request"]["url"].startswith("data:"):
        opened.requests.append(event["request"]["url"])
    elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
        opened.errors.append(event["entry"]["text"])
    elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"):
        opened.errors.append(str(event["args"]))
    elif method == "Runtime.exceptionThrown":
        opened.errors.append(event["exceptionDetails"]["text"])


@contextmanager
def headless(browser: str, profile: Path) -> Iterator[Browser]:
    """Start ``browser`` with an empty profile in the folder ``profile``, and end it."""
    (its_commands, commands), (answers, its_answers) = os.pipe(), os.pipe()
    # The protocol is spoken on descriptors 3 and 4.
    script = f'exec "$@" 3<&{its_commands} 4>&{its_answers}'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", browser, *_SWITCHES, f"--user-data-dir={profile}"],
        pass_fds=(its_commands, its_answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_commands)
    os.close(its_answers)
    driven = Browser(commands, answers)
    try:
        yield driven
    finally:
        driven.close()
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    install()
