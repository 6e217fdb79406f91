"""How long `launcher --help` takes beside `python -c "import click"`: paired runs, in alternating order.

python bench/cli_startup.py [--pairs 30]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = 2.0
CASES = {
    "import click": ["-c", "import click"],
    "launcher --help": ["-m", "launcher", "--help"],
    "completion": ["-m", "launcher"],
}
COMPLETION = {"_LAUNCHER_COMPLETE": "bash_complete", "COMP_WORDS": "launcher submit --", "COMP_CWORD": "2"}


def seconds(case: str) -> float:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **(COMPLETION if case == "completion" else {})}
    started = time.perf_counter()
    subprocess.run([sys.executable, *CASES[case]], env=env, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    pairs = parser.parse_args().pairs
    for case in CASES:
        seconds(case)  # fills the caches of bytecode and of files
    rounds = []
    for number in range(pairs):
        order = list(CASES) if number % 2 else list(CASES)[::-1]
        rounds.append({case: seconds(case) for case in order})
    for case in CASES:
        times = sorted(one[case] for one in rounds)
        print(f"{case:16} median {statistics.median(times) * 1000:6.1f} ms, fastest {times[0] * 1000:6.1f} ms")
    worst = 0.0
    for case in list(CASES)[1:]:
        ratio = statistics.median(one[case] / one["import click"] for one in rounds)
        worst = max(worst, ratio)
        print(f"{case} / import click: {ratio:.2f} (median of {pairs} pairs; target <= {TARGET:.0f})")
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())
