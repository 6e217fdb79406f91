"""Arguments of a script of the user's own, in a pod and on this machine."""

from pathlib import Path
from typing import Any

import pytest

from launcher.backends.local.command import localize_command
from launcher.errors import InvalidJob, LauncherExit
from launcher.job.spec import JobSpec
from trainer.runtime.script_work import expanded


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--out=$(RESULTS_DIR)/x", "--out=/results/x"),
        ("$(NONE) $HOME ${HOME} $(", "$(NONE) $HOME ${HOME} $("),
        ("$$(RESULTS_DIR)", "$(RESULTS_DIR)"),
        ("$$$(RESULTS_DIR)", "$/results"),
    ],
)
def test_variables_in_arguments_are_replaced_as_kubernetes_does(text: str, shown: str) -> None:
    assert expanded(text, {"RESULTS_DIR": "/results"}) == shown


def localized(directory: Path, *command: str, environment: dict[str, str] | None = None, **fields: Any) -> list[str]:
    spec = JobSpec.model_validate({"name": "own", "command": command, **fields})
    return list(localize_command(spec, directory, environment or {}))


def refusal(directory: Path, *command: str, **fields: Any) -> str:
    with pytest.raises(InvalidJob) as caught:
        localized(directory, *command, **fields)
    assert caught.value.exit_code == LauncherExit.USAGE
    return caught.value.message


@pytest.fixture
def code(tmp_path: Path) -> Path:
    for name in ("train.py", "pkg/__init__.py", "data/set/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_relative_script_starts_where_the_job_is_submitted(code: Path) -> None:
    assert localized(code, "train.py", "--lr", "1") == [f"{code}/train.py", "--lr", "1"]


def test_a_missing_script_is_refused_and_told_where_it_was_looked_for(code: Path) -> None:
    message = refusal(code, "trian.py")
    assert message.startswith(f"command.0: trian.py is {code}/trian.py on this machine")
    assert "where you submit from" in message
    assert "there is no file /workspace/train.py" in refusal(code, "/workspace/train.py")


def test_paths_below_a_mount_are_those_of_its_folder_here(code: Path) -> None:
    folders = {"/data": code / "data", "/code": code}
    volumes = tuple({"name": mount[1:], "mount": mount, "local": str(here)} for mount, here in folders.items())
    arguments = ["--data=/data/set", "/data", "/database", "x=/data/set", "--out=$(RESULTS_DIR)"]
    here = localized(code, "/code/train.py", *arguments, volumes=volumes)
    kept = ["/database", "x=/data/set", "--out=$(RESULTS_DIR)"]
    assert here == [f"{code}/train.py", f"--data={code}/data/set", f"{code}/data", *kept]


def test_a_path_below_a_mount_without_a_folder_here_is_refused(code: Path) -> None:
    volumes = ({"name": "data", "mount": "/data", "claim": "datasets"},)
    assert "volumes.data: has no `local:` folder" in refusal(code, "train.py", "/data/set", volumes=volumes)


def test_a_module_is_looked_for_where_the_job_is_submitted_and_on_pythons_path(code: Path, tmp_path: Path) -> None:
    assert localized(code, "-m", "pkg.train", "x") == ["-m", "pkg.train", "x"]
    assert localized(code, "-m", "json.tool") == ["-m", "json.tool"]
    elsewhere = {"PYTHONPATH": str(code)}
    assert localized(tmp_path / "data", "-m", "pkg.train", environment=elsewhere) == ["-m", "pkg.train"]
    assert "command.1: there is no module kpg" in refusal(code, "-m", "kpg.train")
