"""What the shipped examples reach, trained through ``launcher submit``; needs the trainer and, for some, Fashion-MNIST.

python bench/quality.py digits     # five seeds, median and minimum of the test accuracy
python bench/quality.py fashion    # five epochs of the ConvNet
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
FASHION = Path("/usr/share/datasets/fashion-mnist")


def train(example: str, folder: str, *settings: str) -> float:
    """Submit and wait; the test accuracy."""
    name = f"{example}-{'-'.join(settings).replace('.', '-').replace('=', '-')}".strip("-")
    overrides = [argument for setting in settings for argument in ("--set", setting)]
    command = [sys.executable, "-P", "-m", "launcher", "submit", str(EXAMPLES / f"{example}.yaml"), "--name", name]
    options = ["--backend", "local", "--gpus", "2", "--wait", "--results-dir", folder]
    begun = time.monotonic()
    subprocess.run([*command, *options, *overrides], check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((Path(folder) / "local" / name / "summary.json").read_text())
    accuracy = float(summary["metrics"]["accuracy"])
    print(f"{name}: test accuracy {accuracy:.4f} after {summary['epochs']} epochs, {time.monotonic() - begun:.0f} s")
    return accuracy


def digits(folder: str) -> None:
    accuracies = [train("digits", folder, f"train.seed={seed}") for seed in range(5)]
    print(f"digits, seeds 0-4: median {statistics.median(accuracies):.4f}, minimum {min(accuracies):.4f}")


def fashion(folder: str) -> None:
    if not FASHION.exists():
        print("fashion: skipped, install the Debian package dataset-fashion-mnist", file=sys.stderr)
        return
    train("fashion-convnet", folder)


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["digits", "fashion"]
    with tempfile.TemporaryDirectory() as results:
        for benchmark in wanted:
            {"digits": digits, "fashion": fashion}[benchmark](results)
