"""The verbs that need no backend, and what holds for all of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launcher import __version__
from launcher.job.load import load_job
from tests.command_line import EXAMPLES, ROOT, environment, run_launcher

DIGITS = str(EXAMPLES / "digits.yaml")


@pytest.mark.parametrize(("typed", "meant"), [("sbumit", "submit"), ("stats", "status"), ("lst", "list")])
def test_an_unknown_verb_suggests_the_nearest(typed: str, meant: str) -> None:
    result = run_launcher(typed)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"no such command: {typed}; did you mean {meant}?" in result.stderr


def test_an_interrupt_ends_with_130(tmp_path: Path) -> None:
    pipe = tmp_path / "job.yaml"
    os.mkfifo(pipe)
    with (
        subprocess.Popen(
            [sys.executable, "-m", "launcher", "validate", pipe],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        ) as process,
        pipe.open("w"),
    ):  # opens once the launcher reads, so the signal meets a running command
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "")
    assert "interrupted" in errors
    assert "Traceback" not in errors


def test_version_is_a_word_and_json() -> None:
    assert run_launcher("--version").stdout == f"launcher {__version__}\n"
    assert run_launcher("version").stdout == f"launcher {__version__}\n"
    assert json.loads(run_launcher("version", "-o", "json").stdout)["launcher"] == __version__


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    result = run_launcher("completion", shell)
    assert result.returncode == 0
    assert f"{shell}_complete" in result.stdout


def test_init_writes_a_commented_job_that_is_valid_and_is_not_overwritten(tmp_path: Path) -> None:
    created = run_launcher("init", cwd=tmp_path)
    text = (tmp_path / "job.yaml").read_text()
    assert (created.returncode, created.stdout) == (0, "job.yaml\n")
    assert "launcher submit --follow job.yaml" in created.stderr
    assert "# " in text
    assert load_job(text, filename="job.yaml").name == "digits"
    refused = run_launcher("init", "--example", "fashion-convnet", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (tmp_path / "job.yaml").read_text() == text
    assert run_launcher("init", "--example", "fashion-convnet", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "job.yaml").read_text() == (EXAMPLES / "fashion-convnet.yaml").read_text()


def test_init_suggests_the_nearest_example() -> None:
    result = run_launcher("init", "x.yaml", "--example", "fashion-convnt")
    assert (result.returncode, result.stdout) == (2, "")
    assert "did you mean fashion-convnet?" in result.stderr


def test_every_line_that_the_starter_has_off_is_valid_once_it_is_on(tmp_path: Path) -> None:
    run_launcher("init", cwd=tmp_path)
    text = (tmp_path / "job.yaml").read_text()
    offered = [
        line for line in text.splitlines() if line.strip().startswith(("# data:", "# model:", "# clip", "# prec"))
    ]
    assert len(offered) == 6
    volumes = "\n" + "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if line.startswith(("# volumes:", "#   - {name"))
    )
    for line in offered:
        key = line.strip().removeprefix("# ").split(":")[0]
        value = yaml.safe_dump(yaml.safe_load(line.strip().removeprefix("# "))[key], default_flow_style=True)
        load_job(text + volumes, filename="job.yaml", overrides=[(f"train.{key}", value.removesuffix("...\n"))])


def test_validate_says_what_will_run() -> None:
    result = run_launcher("validate", DIGITS, "--gpus", "1")
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        f"{DIGITS}: valid",
        "digits: convnet on digits, 40 epochs of batch size 64, on 1 GPU",
    ]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_validate_prints_the_job_with_overrides_and_defaults(form: str) -> None:
    result = run_launcher("validate", DIGITS, "--set", "train.epochs=3", "-o", form)
    document = yaml.safe_load(result.stdout)
    assert document["schemaVersion"] == 1
    assert document["job"]["train"]["epochs"] == 3
    assert document["job"]["train"]["seed"] == 0


def test_plan_shows_pods_ranks_and_idle_gpus() -> None:
    result = run_launcher("plan", DIGITS, "--gpus", "6", "--nodes", "2x4", "--nodes", "1x2")
    assert result.returncode == 0
    assert [line.split() for line in result.stdout.splitlines() if line] == [
        ["NAME", "PODS", "RANKS/POD", "RANKS", "GPUS", "BATCH/RANK"],
        ["digits", "2", "3", "6", "6", "10-11"],
        ["NODES", "PODS", "GPUS", "USED", "GPUS", "IDLE"],
        ["2", "x", "4", "GPUs", "2", "6", "2"],
        ["1", "x", "2", "GPUs", "0", "0", "2"],
    ]


def test_plan_takes_the_nodes_of_the_file_unless_told_others() -> None:
    nodes = ("--set", "nodes=[{count: 2, gpus: 4}]", "--gpus", "8")
    stated = json.loads(run_launcher("plan", DIGITS, *nodes, "-o", "json").stdout)
    told = json.loads(run_launcher("plan", DIGITS, *nodes, "--nodes", "1x8", "-o", "json").stdout)
    assert (stated["pods"], stated["nodes"]) == (2, [{"count": 2, "gpus": 4, "pods": 2, "used": 8, "idle": 0}])
    assert (told["pods"], told["ranks_per_pod"]) == (1, 8)


def test_plan_without_node_shapes_says_so_on_stderr() -> None:
    result = run_launcher("plan", DIGITS, "-o", "yaml")
    assert "no node shapes" in result.stderr
    assert yaml.safe_load(result.stdout)["nodes"] == []
