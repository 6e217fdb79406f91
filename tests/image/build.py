"""Builds the image under test with ``make image``, on a base made by debootstrap; both are kept for the next time."""

import ast
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.image.engine import ROOT, Engine

BASE = "localhost/pytorchjob-trainer-test-base:bookworm"
DEPENDENCIES = "localhost/pytorchjob-trainer-test-dependencies:latest"
IMAGE = "localhost/pytorchjob-trainer-test:latest"
# Beside trainer/ what the Dockerfile copies, and itself.
_CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "constraints.txt", "pyproject.toml", "launcher/__init__.py")
# Stands in both mounted files, and must stand nowhere in the image.
CANARY = "canary-of-the-build-machine-e0b1f6"


def build_image(engine: Engine) -> str:
    """The image's name. The first build takes minutes; later ones repeat only the layers of our own code."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if engine.try_podman("image", "exists", BASE).returncode:
            _make_base(engine, folder)
        secrets = _secrets(pip_settings(), folder)
        # A name for the heavy stage: pruning then removes what earlier versions left, and not the cache of this one.
        engine.make_image(DEPENDENCIES, BASE=BASE, TARGET="dependencies", **secrets)
        engine.make_image(IMAGE, BASE=BASE, **secrets)
    engine.podman("image", "prune", "--force")
    return IMAGE


def build_if_changed(engine: Engine) -> str:
    """The image's name; built again only where what goes into it has changed, since comparing 6 GB takes a minute."""
    built = engine.storage / "built"
    digest = _digest_of_context()
    if not built.exists() or built.read_text() != digest or engine.try_podman("image", "exists", IMAGE).returncode:
        build_image(engine)
        built.write_text(digest)
    return IMAGE


def _digest_of_context() -> str:
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "trainer").rglob("*.py"), *(ROOT / name for name in _CONTEXT)]):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def pip_settings() -> dict[str, str]:
    """What pip uses on this machine, from files and environment alike."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pairs = (line.partition("=") for line in listed.stdout.splitlines())
    return {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, _, value in pairs}


def _make_base(engine: Engine, folder: Path) -> None:
    root, archive = folder / "root", folder / "root.tar"
    packages = "--include=python3,python3-venv"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", packages, "bookworm", root],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert made.returncode == 0, made.stdout[-4000:]
    # Without what debootstrap takes over from this machine: its name, its resolver, its package server, its downloads.
    of_this_machine = ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "var/lib/apt/lists", "var/log")
    excluded = [f"--exclude=./{path}" for path in (*of_this_machine, "var/cache/apt/archives/*.deb")]
    subprocess.run(["tar", "--create", f"--file={archive}", f"--directory={root}", *excluded, "."], check=True)
    engine.podman("import", str(archive), BASE)
    subprocess.run(["rm", "-rf", "--one-file-system", str(root), str(archive)], check=True)


def _secrets(settings: dict[str, str], folder: Path) -> dict[str, str]:
    """Files for the build step that installs packages, marked by the canary."""
    authorities = settings.get("cert", "")
    lines = [f"{name} = {_indented(value)}" for name, value in settings.items() if name != "cert"]
    conf = folder / "pip.conf"
    conf.write_text("\n".join([f"# {CANARY}", "[global]", *lines]) + "\n")
    if not authorities:
        return {"PIP_CONF": str(conf), "CA_BUNDLE": ""}
    bundle = folder / "certificates.pem"
    bundle.write_text(Path(authorities).read_text() + f"\n# {CANARY}\n")
    return {"PIP_CONF": str(conf), "CA_BUNDLE": str(bundle)}


def _indented(value: str) -> str:
    """Several values of one setting, as pip's configuration files write them."""
    return "\n    ".join(value.split("\n"))
