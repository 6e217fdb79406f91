"""Build the Go programs that the tests run, once, from the pinned modules beside this file.

Each folder here is a Go module of its own, since the graphs of these programs do not fit into one. A ``tool`` line of
its go.mod makes a program available by name::

    from tests.tools.build import ToolMissing, tool

    helm = tool("helm")            # builds on the first call, minutes for the API server; instant from then on

The binary lies in the user's cache folder under a digest of go.mod and go.sum, so raising a version builds anew and
several checkouts share one build. As a program: ``python tests/tools/build.py [NAME ...]`` builds those, or all that
the tests need, says which one cannot be had and why, and then ends with 1.
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
DEFAULT = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
STILL_BUILDING_SECONDS = 30.0

# Programs whose version is a link-time variable: a Kubernetes server would call itself v0.0.0 without it.
_VERSION_VARIABLES = {
    "k8s.io/kubernetes": "k8s.io/component-base/version.gitVersion",
    "helm.sh/helm/v3": "helm.sh/helm/v3/internal/version.version",
    "helm.sh/helm/v4": "helm.sh/helm/v4/internal/version.version",
}
_TOOL_LINE = re.compile(r"^(?:tool\s+|\t)([\w.-]+(?:/[\w.~-]+)+)(?:\s*//\s*name:\s*(\S+))?\s*$", re.MULTILINE)


class ToolMissing(Exception):
    """A program cannot be had here; the message says why and what would help."""


@dataclass(frozen=True)
class GoTool:
    """A program that a go.mod pins."""

    name: str
    package: str
    module: Path

    @property
    def digest(self) -> str:
        """Changes whenever the program could: with its modules' versions, this builder's flags, or the platform."""
        digest = hashlib.sha256(f"1 {sys.platform} {platform.machine()} {self.package}".encode())
        for name in ("go.mod", "go.sum"):
            lines = (line.partition("//")[0].strip() for line in (self.module / name).read_text().splitlines())
            digest.update("\n".join(line for line in lines if line).encode())
        for source in sorted(self.module.glob("*.go")):
            digest.update(source.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def binary(self) -> Path:
        """Where the built program lies."""
        return cache_folder() / f"{self.name}-{self.digest}" / self.name


@cache
def tool(name: str) -> Path:
    """The program ``name``, built first if need be.

    ``KUBEBUILDER_ASSETS``, the folder of ready binaries that other Kubernetes projects' tests use, wins where it has
    the program.

    Raises:
        ToolMissing: It is neither there nor can it be built.
    """
    ready = Path(os.environ.get("KUBEBUILDER_ASSETS", os.devnull)) / name
    if ready.is_file():
        return ready
    wanted = known_tools().get(name)
    if wanted is None:
        raise ToolMissing(f"{name} is none of the pinned tools: {', '.join(sorted(known_tools()))}")
    if not wanted.binary.is_file():
        with _only_builder(wanted.binary.parent):
            if not wanted.binary.is_file():
                _build(wanted)
    return wanted.binary


@cache
def module_source(module: str) -> Path:
    """The folder with the source of a pinned module, such as the one that carries the operator's CRDs.

    Raises:
        ToolMissing: No go.mod here pins it, or it cannot be downloaded.
    """
    for go_mod in sorted(HERE.glob("*/go.mod")):
        if re.search(rf"^\s*(?:require\s+)?{re.escape(module)} v", go_mod.read_text(), re.MULTILINE):
            answer = _go(["mod", "download", "-json", module], go_mod.parent)
            return Path(json.loads(answer)["Dir"])
    raise ToolMissing(f"no go.mod under {HERE.name}/ pins {module}")


def known_tools() -> dict[str, GoTool]:
    """Every tool by name: the comment ``// name: NAME`` behind a ``tool`` line, else the last word of its package."""
    tools = {}
    for go_mod in sorted(HERE.glob("*/go.mod")):
        for package, name in _tool_lines(go_mod.read_text()):
            tools[name] = GoTool(name, package, go_mod.parent)
    return tools


def _tool_lines(go_mod: str) -> Iterator[tuple[str, str]]:
    """Package and name of each ``tool`` directive, in its one-line and its block form."""
    directives = re.findall(r"^tool \((.*?)^\)|^(tool [^(\n]*)$", go_mod, re.MULTILINE | re.DOTALL)
    for match in _TOOL_LINE.finditer("\n".join(block or line for block, line in directives)):
        package, name = match.groups()
        yield package, name or package.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """The folder under the user's cache that holds the built programs."""
    mac = Path.home() / "Library" / "Caches"
    default = mac if sys.platform == "darwin" else Path.home() / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "pytorchjob-launcher" / "tools"


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two test runs do not build the same program at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(wanted: GoTool) -> None:
    start = time.monotonic()
    _say(f"building {wanted.name} from {wanted.module.name}/go.mod (once; minutes for a Kubernetes server)")
    unfinished = wanted.binary.with_suffix(".new")
    with _reminding(wanted.name, start):
        flags = ["-trimpath", "-ldflags", _ldflags(wanted)]
        _go(["build", *flags, "-o", str(unfinished.absolute()), wanted.package], wanted.module)
    unfinished.replace(wanted.binary)
    _say(f"built {wanted.name} in {time.monotonic() - start:.0f} s")


def _ldflags(wanted: GoTool) -> str:
    for module, variable in _VERSION_VARIABLES.items():
        version = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", _go_mod(wanted), re.MULTILINE)
        if wanted.package.startswith(f"{module}/") and version:
            return f"-s -w -X {variable}={version[1]}"
    return "-s -w"


def _go_mod(wanted: GoTool) -> str:
    return (wanted.module / "go.mod").read_text()


def _go(arguments: list[str], folder: Path) -> str:
    """What ``go`` printed. Without cgo no C compiler is needed; the pins are never changed on the way."""
    go = shutil.which("go")
    if go is None:
        raise ToolMissing("Go is not installed; install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to ready binaries")
    env = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run([go, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolMissing(f"`go {arguments[0]}` failed in tests/tools/{folder.name}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


@contextmanager
def _reminding(name: str, start: float) -> Iterator[None]:
    """Say now and then that the build goes on: ``go build`` itself is silent."""
    done = threading.Event()

    def remind() -> None:
        while not done.wait(STILL_BUILDING_SECONDS):
            _say(f"still building {name} ({time.monotonic() - start:.0f} s)")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Build the tools that are named on the command line."""
    parser = argparse.ArgumentParser(description="Build the Go programs that the tests run, once.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(DEFAULT)}")
    chosen = parser.parse_args(arguments)
    missing = False
    for name in chosen.names or DEFAULT:
        try:
            print(tool(name))
        except ToolMissing as reason:
            missing = True
            _say(f"{name} is missing, and the tests that need it will be skipped: {reason}")
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
