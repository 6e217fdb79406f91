"""What holds for every test."""

import os
import signal

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Tests work on small tensors, several of them at a time: threads of torch's own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts us in the background tells us to ignore SIGINT, and what we start would inherit that: tests
# that interrupt a launcher would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of a group run one after the other on one worker.

    `--dist loadgroup` would do, but writes to an attribute that pytest 9.2 no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.partition("::")[0])


def group(file: str) -> str:
    """A file's tests share fixtures; those of the API server start it once; cluster tests share a node and its GPUs."""
    folder = file.removeprefix("tests/").rpartition("/")[0]
    return folder if folder in ("api", "cluster") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """How tests are given to workers."""
    return GroupScheduling(config, log)
