"""Supervisor processes: found again, told apart, and ended with everything they started."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from launcher.backends.local import process
from launcher.backends.local.process import Identity

# A leader that starts a child in the same group and one in a session of its own, and ignores SIGTERM where told to.
LEADER = """
import signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
print("ready", flush=True)
time.sleep(600)
"""


def start(folder: Path, temper: str) -> Identity:
    log = folder / "log"
    identity = process.spawn([sys.executable, "-c", LEADER, temper], folder=folder, log=log, environment={})
    while "ready" not in log.read_text():
        assert process.is_alive(identity), log.read_text()
        time.sleep(0.02)
    return identity


@pytest.mark.parametrize(("temper", "left_by_itself"), [("obedient", True), ("stubborn", False)])
def test_nothing_that_it_started_survives(tmp_path: Path, temper: str, left_by_itself: bool) -> None:
    identity = start(tmp_path, temper)
    children = psutil.Process(identity.pid).children()
    assert len(children) == 2
    assert process.terminate(identity, grace_seconds=0.5 if temper == "stubborn" else 10) is left_by_itself
    assert not process.is_alive(identity)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_it_has_a_session_of_its_own_and_reads_nothing(tmp_path: Path) -> None:
    identity = start(tmp_path, "obedient")
    assert os.getsid(identity.pid) == identity.pid
    assert Path(f"/proc/{identity.pid}/fd/0").resolve() == Path(os.devnull)
    process.terminate(identity, grace_seconds=10)


def test_another_creation_time_means_another_process() -> None:
    created = psutil.Process().create_time()
    assert process.is_alive(Identity(os.getpid(), created))
    assert not process.is_alive(Identity(os.getpid(), created - 60))


def test_a_process_that_was_never_reaped_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    identity = Identity(child.pid, psutil.Process(child.pid).create_time())
    deadline = time.monotonic() + 10
    while process.is_alive(identity):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert process.terminate(identity, grace_seconds=60)
    child.wait()


def test_ending_what_is_gone_does_nothing() -> None:
    assert process.terminate(Identity(2**22 - 1, 0.0), grace_seconds=60)
