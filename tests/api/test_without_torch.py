"""``pip install .`` without the trainer's extra is enough to render and to submit to a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import KubeconfigFor
from tests.command_line import EXAMPLES, ROOT

pytestmark = pytest.mark.slow  # installs into an environment of its own


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of an environment that has the launcher alone."""
    folder = tmp_path_factory.mktemp("launcher-alone")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(ROOT)]
    subprocess.run(pip, check=True)
    has_torch = subprocess.run([folder / "bin" / "python", "-c", "import torch"], capture_output=True, check=False)
    assert has_torch.returncode != 0
    return folder / "bin" / "launcher"


def test_the_launcher_alone_renders_and_submits(launcher: Path, kubeconfig_for: KubeconfigFor, tmp_path: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig_for("submitter"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(launcher), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    rendered = run("render", "--gpus", "8", str(EXAMPLES / "digits.yaml"))
    assert rendered.returncode == 0, rendered.stderr
    assert "kind: PyTorchJob" in rendered.stdout
    submitted = run("submit", "--gpus", "0", str(EXAMPLES / "digits.yaml"))
    assert (submitted.returncode, submitted.stdout) == (0, "digits created\n"), submitted.stderr
    listed = run("list", "-o", "name")
    assert "digits" in listed.stdout
