"""buildah and podman with a storage of their own, so that nothing of the user's images is seen, changed or pruned."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tools.build import cache_folder

ROOT = Path(__file__).parents[2]
# Debian's names of what the tests need beside root; the base image is made by debootstrap.
NEEDED = ("buildah", "debootstrap", "podman", "runc")
PYTHON = "/opt/venv/bin/python"
UID = 10001


def missing() -> str | None:
    """What stands in the way of these tests here, with the remedy; None when nothing does."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} missing: apt-get install {' '.join(NEEDED)}"
    return None if os.geteuid() == 0 else "debootstrap and mounts need root"


@dataclass(frozen=True)
class Engine:
    """One storage of images and containers."""

    storage: Path

    @classmethod
    def at_cache(cls) -> "Engine":
        """The tests' own storage: beside the Go programs in the user's cache folder, kept between runs."""
        folder = cache_folder().with_name("containers")
        folder.mkdir(parents=True, exist_ok=True)
        lines = ("[storage]", 'driver = "overlay"', f'graphroot = "{folder}/storage"', f'runroot = "{folder}/run"')
        (folder / "storage.conf").write_text("\n".join(lines) + "\n")
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        """For every program that works on this storage."""
        return {**os.environ, "CONTAINERS_STORAGE_CONF": str(self.storage / "storage.conf")}

    def podman(self, *arguments: str) -> str:
        """The output of one podman command that must succeed."""
        done = self.try_podman(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def try_podman(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One podman command, whatever it ends with."""
        # runc: Debian's crun refuses hosts with both versions of cgroups.
        command = ["podman", "--runtime", "runc", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=600)

    def make_image(self, tag: str, **variables: str) -> None:
        """``make image`` with buildah into this storage."""
        builder = "buildah build --layers --isolation chroot"
        assignments = [f"{name}={value}" for name, value in {"IMAGE": tag, "BUILDER": builder, **variables}.items()]
        done = subprocess.run(
            ["make", "image", *assignments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout

    def layers(self, image: str) -> list[Path]:
        """The folders on this machine that hold the files of each layer."""
        data = json.loads(self.podman("image", "inspect", "--format", "{{json .GraphDriver.Data}}", image))
        return [Path(path) for path in (data["UpperDir"] + ":" + data.get("LowerDir", "")).split(":") if path]


@dataclass
class Container:
    """A created container of the trainer's image."""

    engine: Engine
    name: str

    def start(self) -> None:
        """Let it run in the background."""
        self.engine.podman("start", self.name)

    def pid(self) -> int:
        """Its first process, as this machine numbers it."""
        return int(self.engine.podman("inspect", "--format", "{{.State.Pid}}", self.name))

    def running(self) -> bool:
        """Whether it runs."""
        return self.engine.podman("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true"

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 120) -> None:
        """Wait for ``condition``; fail when the container ends or the time is over before it holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.running(), f"it ended too early:\n{self.output()}"
            assert time.monotonic() < end, f"waited {seconds} s in vain:\n{self.output()}"
            time.sleep(0.02)

    def terminate(self) -> None:
        """SIGTERM to its first process, as the kubelet sends it."""
        self.engine.podman("kill", "--signal", signal.SIGTERM.name, self.name)

    def wait(self) -> int:
        """Its exit code."""
        return int(self.engine.podman("wait", self.name))

    def output(self) -> str:
        """What it has written to stdout and stderr."""
        done = self.engine.try_podman("logs", self.name)
        return done.stdout + done.stderr

    def changed_paths(self) -> set[str]:
        """What differs from the image in its own file system; volumes are not part of that."""
        changes: dict[str, list[str] | None] = json.loads(self.engine.podman("diff", "--format", "json", self.name))
        return {path for paths in changes.values() for path in paths or ()}


@contextmanager
def container(
    engine: Engine,
    image: str,
    *arguments: str,
    volumes: Mapping[Path, str] | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Container]:
    """A container with the limits of a ``restricted`` pod, created and not started, gone at the end.

    Args:
        engine: Where the image is.
        image: Its name.
        arguments: For the image's entry point.
        volumes: Path on this machine -> path in the container, with ``:ro`` where it is read only.
        options: Further options for podman.
    """
    name = f"trainer-test-{uuid.uuid4().hex[:12]}"
    limits = (
        "--read-only",
        "--read-only-tmpfs=false",
        "--network=none",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--tmpfs=/tmp:rw,mode=1777,size=1g",
        "--shm-size=256m",
        "--pids-limit=1024",
        # podman's own defaults are above what an unprivileged machine may grant.
        "--ulimit=nofile=20000:20000",
        "--ulimit=nproc=1024:1024",
    )
    mounts = [f"--volume={path}:{target}" for path, target in (volumes or {}).items()]
    engine.podman("create", "--name", name, *limits, *mounts, *options, image, *arguments)
    try:
        yield Container(engine, name)
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            engine.try_podman("rm", "--force", "--time", "0", name)


def python_in(engine: Engine, image: str, code: str) -> Any:
    """What ``code`` prints as JSON when the image's Python runs it."""
    with container(engine, image, "-P", "-c", code, options=(f"--entrypoint={PYTHON}",)) as probe:
        probe.start()
        assert probe.wait() == 0, probe.output()
        return json.loads(probe.output())
