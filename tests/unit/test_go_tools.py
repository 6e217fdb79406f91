from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import build
from tests.tools.build import GoTool, ToolMissing, known_tools, main, module_source, tool

GO_MOD = """\
module example/tools

go 1.26.0

tool (
\texample.com/one/cmd/first
\texample.com/two/server/v3 // name: second
)

require example.com/one v1.2.3
"""

# Makes the argument behind -o the second one of a fake `go`.
TO_OUTPUT = 'while [ "$1" != -o ]; do shift; done'


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of pinned modules in the place of the real one, and an empty cache."""
    folder = tmp_path / "tools" / "some"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text(GO_MOD)
    (folder / "go.sum").write_text("example.com/one v1.2.3 h1:abc=\n")
    monkeypatch.setattr(build, "HERE", folder.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    tool.cache_clear()
    yield folder
    tool.cache_clear()


@pytest.fixture
def without_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A ``go`` that runs a shell script."""
    go = folder / "bin" / "go"
    go.parent.mkdir()
    go.write_text(f"#!/bin/sh\n{script}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")


def test_tools_are_named_by_their_package_or_by_the_comment_behind_them(modules: Path) -> None:
    assert {one.name: one.package for one in known_tools().values()} == {
        "first": "example.com/one/cmd/first",
        "second": "example.com/two/server/v3",
    }


def test_a_tool_on_a_line_of_its_own_is_known(modules: Path) -> None:
    (modules / "go.mod").write_text("module m\n\ntool example.com/a/cmd/alone // name: lonely\n")
    assert list(known_tools()) == ["lonely"]


def test_the_repository_pins_what_the_tests_run() -> None:
    assert {*build.DEFAULT, "training-operator.v1"} <= known_tools().keys()


def test_ready_binaries_win(modules: Path, tmp_path: Path, without_go: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "first").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert tool("first") == tmp_path / "assets" / "first"
    with pytest.raises(ToolMissing, match="Go is not installed"):
        tool("second")


def test_a_tool_is_built_once_from_the_pinned_package(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    fake_go(tmp_path, monkeypatch, f'echo "$CGO_ENABLED $PWD $@" >>{calls}\n{TO_OUTPUT}; echo built >"$2"')
    first = tool("first")
    tool.cache_clear()
    assert tool("first") == first
    assert first.read_text() == "built\n"
    (call,) = calls.read_text().splitlines()
    assert call.startswith(f"0 {modules} build")
    assert call.endswith("example.com/one/cmd/first")


def test_a_failed_build_leaves_nothing_that_looks_built(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path, monkeypatch, f'{TO_OUTPUT}; echo half >"$2"; echo no such module >&2; exit 1')
    for _ in range(2):
        with pytest.raises(ToolMissing, match="no such module"):
            tool("first")


def test_an_unknown_tool_names_those_that_are_pinned(modules: Path) -> None:
    with pytest.raises(ToolMissing, match="third is none of the pinned tools: first, second"):
        tool("third")


def test_another_version_is_another_binary_and_a_comment_is_not(modules: Path) -> None:
    before = known_tools()["first"].digest
    (modules / "go.mod").write_text("// a comment\n" + GO_MOD)
    assert known_tools()["first"].digest == before
    (modules / "go.sum").write_text("example.com/one v1.2.4 h1:def=\n")
    assert known_tools()["first"].digest != before


def test_kubernetes_programs_are_told_their_version() -> None:
    flags = build._ldflags(known_tools()["kube-apiserver"])
    assert flags.endswith("-X k8s.io/component-base/version.gitVersion=v1.36.3")


def test_no_version_is_made_up_for_other_programs(modules: Path) -> None:
    assert build._ldflags(GoTool("first", "example.com/one/cmd/first", modules)) == "-s -w"


def test_a_module_that_nothing_pins_is_refused(modules: Path) -> None:
    with pytest.raises(ToolMissing, match=r"no go\.mod under tools/ pins example\.com/three"):
        module_source("example.com/three")


def test_the_program_says_what_is_missing_and_why(
    modules: Path, without_go: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["first"]) == 1
    assert (
        "first is missing, and the tests that need it will be skipped: Go is not installed" in capsys.readouterr().err
    )
