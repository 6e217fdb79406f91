"""What holds for every test."""

import os
import signal

import pytest

# Tests work on small tensors, several of them at a time: threads of torch's own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts us in the background tells us to ignore SIGINT, and what we start would inherit that: tests
# that interrupt a launcher would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run two at a time: a file's stay together, and all of the API server's, which is started once."""
    for item in items:
        api = "tests/api/" in item.nodeid
        item.add_marker(pytest.mark.xdist_group("api" if api else item.nodeid.partition("::")[0]))
