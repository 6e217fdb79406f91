"""Jobs on the local backend with the scripted supervisor, for the tests of the launcher."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.backends.base import JobStatus, Submission
from launcher.backends.local.backend import LocalBackend
from launcher.job.placement import Placement
from launcher.job.spec import JobSpec

FAKE = Path(__file__).with_name("fake_supervisor.py")
WAIT_SECONDS = 20.0


def digits_spec(**changes: Any) -> JobSpec:
    """A small valid job; ``train`` changes are merged, the rest replaces."""
    train = {
        "task": "image-classification",
        "epochs": 2,
        "batch_size": 64,
        "data": {"kind": "digits"},
        "model": {"name": "feed-forward"},
        "optimizer": {"name": "adamw", "lr": 0.01},
        **changes.pop("train", {}),
    }
    return JobSpec.model_validate_json(json.dumps({"name": "digits", "processes": 2, "train": train, **changes}))


class FakeJobs:
    """A local backend whose supervisors follow ``plan``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "results"
        self.plan_file = folder / "plan.json"
        self.said: list[str] = []
        command = (sys.executable, str(FAKE), str(self.plan_file))
        self.backend = LocalBackend(self.root, start_command=command, say=self.said.append)
        self.plan("run")

    def plan(self, do: str, **details: Any) -> None:
        self.plan_file.write_text(json.dumps({"do": do, **details}))

    def submit(self, *, fresh: bool = False, **changes: Any) -> Submission:
        spec = digits_spec(**changes)
        return self.backend.submit(spec, Placement(nodes=1, ranks_per_node=spec.ranks), fresh=fresh)

    def wait(self, name: str = "digits") -> JobStatus:
        return self.wait_for(lambda status: status.state.is_over, name)

    def wait_for(self, condition: Callable[[JobStatus], bool], name: str = "digits") -> JobStatus:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition(status := self.backend.get(name)):
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        return status

    def running(self, name: str = "digits") -> JobStatus:
        """Wait until its first attempt of this submission runs and has shown progress."""
        return self.wait_for(lambda status: status.state == "Running" and status.progress is not None, name)

    def stop_all(self) -> None:
        for status in self.backend.list():
            self.backend.cancel(status.name, grace_seconds=0)
