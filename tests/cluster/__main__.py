"""``python -m tests.cluster up|test|down|kubeconfig``: the tests' cluster, by hand, and all tests on it."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster import providers
from tests.cluster.providers import Provider
from tests.cluster.team import install_roles
from tests.tools.build import ToolMissing

TESTS = Path(__file__).parent
# Most of a test is waiting: two groups (conftest.py makes them) go side by side; what would disturb them comes last.
TOGETHER = ("-n", "2", "--dist", "loadscope", "-m", "not alone")
ALONE = ("-m", "alone")


def main() -> int:
    """Bring the cluster up or down, run the tests on it, or print the path of its kubeconfig."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="The cluster that the tests run on.")
    parser.add_argument("verb", choices=("up", "test", "down", "kubeconfig"))
    parser.add_argument("--provider", choices=sorted(providers.PROVIDERS), default=providers.default())
    chosen, options = parser.parse_known_args()
    if options and chosen.verb != "test":
        parser.error(f"unknown option {options[0]}")
    provider = providers.provider(chosen.provider)
    if chosen.verb == "test":
        os.environ["PROVIDER"] = chosen.provider
        return _test(provider, options)
    if chosen.verb == "down":
        provider.stop()
        return 0
    cluster = provider.running()
    if chosen.verb == "up":
        if cluster:
            provider.refresh(cluster)
        else:
            cluster = provider.start(outlive=True)
    if cluster is None:
        print("no cluster is running; start one with: make cluster-up", file=sys.stderr)
        return 1
    print(cluster.kubeconfig)
    return 0


def _test(provider: Provider, options: list[str]) -> int:
    """All tests, on the cluster that runs, or on one of their own that ends with them."""
    running = provider.running()
    try:
        cluster = running or provider.start()
    except ToolMissing as reason:
        print(f"no cluster: {reason}", file=sys.stderr)  # and each test is skipped for it
        return _pytest([], options)
    try:
        install_roles(cluster)
        codes = {_pytest(part, options) for part in (TOGETHER, ALONE)}
        return max(codes - {pytest.ExitCode.NO_TESTS_COLLECTED}, default=pytest.ExitCode.NO_TESTS_COLLECTED)
    finally:
        if running is None:
            provider.stop()  # by the record: a test may have started a server anew


def _pytest(part: Sequence[str], options: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", str(TESTS), *part, *options], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
