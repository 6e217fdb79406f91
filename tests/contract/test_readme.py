"""The README's commands work as they stand there, and its output was really printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import ROOT

README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def _block(heading: str, language: str = "") -> str:
    """The first fenced block below ``heading``."""
    found = re.search(rf"^## {heading}\n.*?^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert found, f"README has no block below {heading}"
    return found[1]


def _shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-ec", script],
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "LAUNCHER_BACKEND": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_quick_start_runs_verbatim(tmp_path: Path) -> None:
    script = _block("Quick start", "sh")
    assert "launcher submit --follow job.yaml" in script
    result = _shell(script, tmp_path)
    assert result.returncode == 0, result.stdout
    assert "digits: Succeeded, step 880/880, epoch 40/40" in result.stdout
    assert result.stdout.count("NAME    EPOCHS  STEPS  SPLIT  LOSS    ACCURACY  MACRO_F1") == 2
    assert (tmp_path / "results/local/digits/report.html").exists()


def test_the_job_file_shown_is_valid(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(_first_yaml())
    result = _shell("launcher validate job.yaml", tmp_path)
    assert result.returncode == 0, result.stdout


def _first_yaml() -> str:
    found = re.search(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("heading", ["How a job is split", "Every mistake at once"])
def test_output_shown_is_what_is_printed(heading: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text((ROOT / "examples" / "digits.yaml").read_text())
    if heading == "Every mistake at once":
        bad = (ROOT / "examples" / "digits.yaml").read_text()
        for right, wrong in (("gpus: 2 ", "gpus: -2"), ("epochs: 40", "epoch: 40"), ("lr: 0.003", "lr: 0")):
            assert right in bad
            bad = bad.replace(right, wrong)
        (tmp_path / "job.yaml").write_text(bad)
    shown = re.split(r"^\$ (.*)\n", _block(heading), flags=re.MULTILINE)[1:]
    for command, expected in zip(shown[::2], shown[1::2], strict=True):
        assert _shell(f"{command} || true", tmp_path).stdout.strip() == expected.strip()
