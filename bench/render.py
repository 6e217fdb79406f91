"""How long `launcher render` takes beside `helm template` of the same values, and many renders in one process.

python bench/render.py [--pairs 30] [--renders 200]

Needs a helm: the one of tests/tools, which is built on the first run where Go is present.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.tools.build import ToolMissing, tool  # noqa: E402 - the tests' tools are found from the root

CHART = ROOT / "charts" / "pytorchjob"
JOB = ROOT / "examples" / "digits.yaml"
RENDER = [sys.executable, "-m", "launcher", "render", "--gpus", "8", "--nodes", "1x8", "-n", "default", str(JOB)]
PROCESS_TARGET, PROCESS_STRETCH = 6.0, 4.0
MANY_TARGET = 5.0

MANY = """
import sys, time
from pathlib import Path
from launcher.job.load import load_job
from launcher.job.placement import plan
from launcher.job.render import job_manifests
text = Path(sys.argv[1]).read_text()
for number in range(int(sys.argv[2])):
    spec = load_job(text, filename="job.yaml", name=f"digits-{number}", gpus=8)
    job_manifests(spec, plan(spec, []), namespace="default", engine=sys.argv[3])
"""


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def compare(commands: dict[str, list[str]], pairs: int) -> dict[str, list[float]]:
    """Times of each command over paired runs, in alternating order."""
    for command in commands.values():
        seconds(command)  # fills the caches of bytecode and of files
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(pairs):
        for name in list(commands) if number % 2 else list(commands)[::-1]:
            times[name].append(seconds(commands[name]))
    for name, values in times.items():
        print(f"{name:32} median {statistics.median(values) * 1000:6.1f} ms, fastest {min(values) * 1000:6.1f} ms")
    return times


def ratio(times: dict[str, list[float]], name: str, other: str) -> float:
    return statistics.median(one / two for one, two in zip(times[name], times[other], strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--renders", type=int, default=200)
    options = parser.parse_args()
    try:
        helm = tool("helm")
    except ToolMissing as reason:
        print(f"no helm to compare with: {reason}", file=sys.stderr)
        return 0
    os.environ["PATH"] = f"{helm.parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        # Bytecode as in an installed package, whatever this environment says about writing it into the checkout.
        os.environ |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        return measure(helm, Path(folder), options.pairs, options.renders)


def measure(helm: Path, folder: Path, pairs: int, renders: int) -> int:
    values = folder / "values.yaml"
    values.write_bytes(subprocess.run([*RENDER, "--values"], cwd=ROOT, capture_output=True, check=True).stdout)
    template = [str(helm), "template", "digits", str(CHART), "--values", str(values)]
    commands = {
        "helm template": template,
        "launcher render": RENDER,
        "launcher render --engine helm": [*RENDER, "--engine", "helm"],
    }
    times = compare(commands, pairs)
    slower = ratio(times, "launcher render", "helm template")
    print(
        f"launcher render / helm template: {slower:.2f} (target <= {PROCESS_TARGET:.0f}, stretch {PROCESS_STRETCH:.0f})"
    )
    print(f"with --engine helm: {ratio(times, 'launcher render --engine helm', 'helm template'):.2f}")

    def process(count: int) -> list[str]:
        return [sys.executable, "-c", MANY, str(JOB), str(count), "library"]

    many = compare({"one render": process(1), f"{renders} renders": process(renders)}, 5)
    growth = ratio(many, f"{renders} renders", "one render")
    print(f"{renders} renders in one process / one: {growth:.2f} (target <= {MANY_TARGET:.0f})")
    return int(slower > PROCESS_TARGET or growth > MANY_TARGET)


if __name__ == "__main__":
    sys.exit(main())
