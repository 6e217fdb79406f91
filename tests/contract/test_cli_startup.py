"""What a newcomer types first answers at once: help and completion import nothing heavy."""

import subprocess
import sys

import click
import pytest

from launcher.cli import ALIASES, COMMANDS, cli
from tests.command_line import ROOT, environment

HEAVY = {"torch", "kubernetes", "pydantic", "pydantic_core", "yaml", "rich", "psutil", "helm_python", "numpy"}


def imported_by(*arguments: str, **env: str) -> tuple[set[str], str]:
    """Top-level modules that a launcher process imported, and what it printed."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "launcher", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(**env),
        timeout=60,
        check=True,
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}, result.stdout


def test_the_probe_sees_what_a_command_imports() -> None:
    modules, _ = imported_by("validate", "examples/digits.yaml")
    assert {"click", "pydantic", "yaml"} <= modules


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("submit", "--help"), ("version",)])
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    modules, output = imported_by(*arguments)
    assert "click" in modules
    assert output
    assert not modules & HEAVY


@pytest.mark.parametrize(("words", "offered"), [("launcher submit --", "--gpus"), ("launcher ", "submit")])
def test_completion_imports_nothing_heavy(words: str, offered: str) -> None:
    position = str(len(words.split(" ")) - 1)
    modules, output = imported_by(_LAUNCHER_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position)
    assert f"plain,{offered}" in output.splitlines()
    assert not modules & HEAVY


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_short_help_of_the_table_is_the_commands_own(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.name == verb
    assert COMMANDS[verb][1] == command.get_short_help_str(limit=1000)


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_help_of_every_command_has_examples(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert f"Examples:\n    launcher {verb}" in command.get_help(click.Context(command, info_name=verb)).replace(
        'eval "$(launcher', "launcher"
    )


def test_aliases_name_commands() -> None:
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert cli.get_command(click.Context(cli), "ls") is cli.get_command(click.Context(cli), "list")
