"""``python -m tests.cluster up|down|kubeconfig``: the tests' cluster, by hand. `make cluster-up` calls it."""

import argparse
import sys

from tests.cluster import providers


def main() -> int:
    """Bring the cluster up or down, or print the path of its kubeconfig."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="The cluster that the tests run on.")
    parser.add_argument("verb", choices=("up", "down", "kubeconfig"))
    parser.add_argument("--provider", choices=sorted(providers.PROVIDERS), default=providers.default())
    chosen = parser.parse_args()
    provider = providers.provider(chosen.provider)
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


if __name__ == "__main__":
    sys.exit(main())
