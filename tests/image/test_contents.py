"""What is in the image and what is not."""

import json
import re
import subprocess
from typing import Any

import pytest

from launcher import __version__
from tests.image.build import CANARY
from tests.image.engine import PYTHON, ROOT, UID, Engine, python_in

# The first test waits for the build.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def _config(engine: Engine, image: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(engine.podman("image", "inspect", "--format", "{{json .Config}}", image))
    return config


def test_the_image_runs_the_trainer_as_an_unprivileged_user_by_number(engine: Engine, image: str) -> None:
    config = _config(engine, image)
    assert config["User"] == f"{UID}:{UID}"
    assert config["Entrypoint"] == [PYTHON, "-P", "-m", "trainer"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__


def test_no_setting_of_the_build_machine_is_left_in_any_layer_or_in_the_history(
    engine: Engine, image: str, pip_settings: dict[str, str]
) -> None:
    hosts = re.findall(r"https?://[^\s/]+", " ".join(pip_settings.values()))
    markers = [CANARY, str(ROOT), *hosts]
    assert _files_with(["Name: pytorchjob-launcher"], engine, image)  # the search finds what is there
    assert _files_with(markers, engine, image) == []
    told = engine.podman("image", "inspect", image) + engine.podman("history", "--no-trunc", image)
    assert [marker for marker in markers if marker in told] == []


def _files_with(words: list[str], engine: Engine, image: str) -> list[str]:
    options = ["--recursive", "--text", "--files-with-matches", "--devices=skip", "--fixed-strings"]
    patterns = [f"--regexp={word}" for word in words]
    found = subprocess.run(["grep", *options, *patterns, *engine.layers(image)], capture_output=True, text=True)
    assert found.returncode < 2, found.stderr
    return found.stdout.splitlines()


def test_no_pip_and_no_configuration_of_it_is_in_the_image(engine: Engine, image: str) -> None:
    of_pip = re.compile(r"pip(\d[\d.]*|-.*|\.conf|\.ini)?")
    files = [path for layer in engine.layers(image) for part in ("opt", "etc") for path in (layer / part).rglob("*")]
    assert len(files) > 10_000
    assert [path for path in files if of_pip.fullmatch(path.name)] == []


def test_neither_the_launcher_nor_what_only_it_needs_can_be_imported(engine: Engine, image: str) -> None:
    names = ["launcher", "click", "rich", "yaml", "psutil", "kubernetes", "pip", "pytest"]
    code = f"import importlib.util as u, json; print(json.dumps([n for n in {names} if u.find_spec(n)]))"
    assert python_in(engine, image, code) == []


def test_every_module_that_compiles_has_bytecode_that_is_used_unchecked(engine: Engine, image: str) -> None:
    code = """
import importlib.util, json, pathlib, warnings
warnings.simplefilter("ignore")
lacking, compiled = [], 0
for folder in ("/opt/trainer", "/opt/venv/lib"):
    for source in pathlib.Path(folder).rglob("*.py"):
        cached = pathlib.Path(importlib.util.cache_from_source(str(source)))
        flags = cached.read_bytes()[4:8] if cached.exists() else b""
        if flags == bytes([1, 0, 0, 0]):  # by hash, and not compared with the source
            compiled += 1
            continue
        try:
            compile(source.read_bytes(), str(source), "exec")
            lacking.append(str(source))
        except SyntaxError:
            pass
print(json.dumps([lacking, compiled]))
"""
    lacking, compiled = python_in(engine, image, code)
    assert lacking == []
    assert compiled > 5000  # torch alone has thousands


def test_the_trainers_user_can_write_nowhere_below_opt(engine: Engine, image: str) -> None:
    mine = f"-user {UID} -o -group {UID} -o -perm -o+w".split()
    for layer in engine.layers(image):
        if (layer / "opt").exists():
            command = ["find", str(layer / "opt"), "!", "-type", "l", "(", *mine, ")"]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_installed_versions_are_the_tested_ones(engine: Engine, image: str) -> None:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    installed = {name.lower(): version for name, version in python_in(engine, image, code).items()}
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    tested = {name.lower(): version for name, _, version in lines}
    assert installed["pytorchjob-launcher"] == __version__
    assert "torch" in installed
    differing = {n: v for n, v in installed.items() if n in tested and v.partition("+")[0] != tested[n]}
    assert differing == {}
