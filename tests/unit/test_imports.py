"""The user's own code by import path: what is found, what may be, and what is said where it is not."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.own_code import own_imports, write_modules
from trainer.exits import ConfigError, DataError
from trainer.own_code.imports import allow_imports, changed, prepare, sources

NETS = """
    import os
    import unit_helper
    from os import system
    from collections import OrderedDict

    class Net:
        class Inner:
            pass

        def __init__(self, width: int = 1) -> None:
            self.width = width

    number = 3
"""


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    with own_imports():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_modules(tmp_path / "code", unit_nets=NETS, unit_helper="")


def refusal(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        prepare(path, {}, field="train.model")
    return str(caught.value)


def test_a_class_of_the_folder_is_found_and_called_with_its_arguments(folder: Path) -> None:
    allow_imports(folder)
    assert prepare("unit_nets:Net", {"width": 3}, field="train.model")().width == 3
    assert type(prepare("unit_nets:Net.Inner", {}, field="train.model")()).__name__ == "Inner"


def test_an_installed_package_needs_no_folder() -> None:
    allow_imports(None)
    assert prepare("json.decoder:JSONDecoder", {}, field="train.model")().decode("1") == 1


def test_nothing_is_imported_before_it_is_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    assert "no code may be imported here" in refusal("unit_nets:Net")
    assert "unit_nets" not in sys.modules


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("unit_nots:Net", "there is no module unit_nots, looked for in {folder} and among the installed packages"),
        ("unit_nets.deep:Net", "there is no module unit_nets.deep, looked for in {folder}"),
        ("unit_nets:Nett", "unit_nets has no Nett; did you mean Net? (it defines Net)"),
        ("unit_nets:Net.Outer", "Net has no Outer"),
        ("unit_nets:number", "unit_nets:number is of type int; expected a class or a function"),
        ("unit_nets:os", "unit_nets:os is a module; expected a class or a function"),
        ("unit_broken:Net", "importing unit_broken failed: ValueError: no luck ({folder}/unit_broken.py, line 2)"),
        ("unit_typo:Net", "importing unit_typo failed: SyntaxError: "),
        ("unit_needs:Net", "importing unit_needs failed: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("unit_exits:Net", "importing unit_exits failed: SystemExit: 3"),
    ],
)
def test_what_cannot_be_imported_says_why(folder: Path, path: str, reason: str) -> None:
    write_modules(
        folder,
        unit_broken="\nraise ValueError('no luck')",
        unit_typo="class Net(:",
        unit_needs="import nowhere_to_be_found",
        unit_exits="raise SystemExit(3)",
    )
    allow_imports(folder)
    assert refusal(path).startswith("train.model.import: " + reason.format(folder=folder))


def test_a_file_called_like_a_module_of_python_hides_nothing_and_is_not_taken_for_it(folder: Path) -> None:
    write_modules(folder, json="raise SystemExit", queue="raise SystemExit")
    allow_imports(folder)
    assert json.loads("1") == 1
    prepare("unit_nets:Net", {}, field="train.model")()
    for name in ("json", "queue"):
        assert f"Python has another module called {name}" in refusal(f"{name}:Net")
        assert f"give yours in {folder} another name" in refusal(f"{name}:Net")


def test_a_missing_folder_is_an_error_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder to import from"):
        allow_imports(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "subprocess:run",
        "json.decoder:JSONDecoder",
        "unit_nets:os.system",
        "unit_nets:system",
        "unit_nets:OrderedDict",
        "unit_nets:Net.__init__.__globals__.get",
        "unit_nets:Net.__class__",
        "unit_elsewhere:Net",
        "json:Net",
    ],
)
def test_where_only_a_folder_is_allowed_nothing_else_runs(folder: Path, path: str, tmp_path: Path) -> None:
    outside = write_modules(tmp_path / "outside", unit_elsewhere="import sys; sys.touched = True\nclass Net: pass")
    write_modules(folder, json="class Net: pass")
    sys.path.append(str(outside))
    allow_imports(folder, packages=())
    assert "train.model.import: " in refusal(path)
    assert not hasattr(sys, "touched")
    prepare("unit_nets:Net", {}, field="train.model")()


def test_an_allowed_package_may_be_used_and_no_other() -> None:
    allow_imports(None, packages=["json"])
    prepare("json.decoder:JSONDecoder", {}, field="train.model")()
    assert "only that may be imported here" in refusal("os:system")
    assert "is not defined in json" in refusal("json.decoder:re.compile")


def test_the_files_that_were_used_are_named_with_their_digests(folder: Path) -> None:
    allow_imports(folder)
    prepare("unit_nets:Net", {}, field="train.model")
    before = sources()
    assert set(before) == {"unit_nets", "unit_helper"}
    assert before["unit_nets"].file == str(folder / "unit_nets.py")
    assert changed(before, sources()) == []
    with (folder / "unit_helper.py").open("a") as file:
        file.write("# changed\n")
    assert changed(before, sources()) == ["unit_helper"]
