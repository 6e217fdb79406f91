"""Jobs that fail: at once, with the rank, the exception and its line, and with their GPUs given back."""

from datetime import datetime

import pytest

from launcher.errors import LauncherExit
from tests.cluster.jobs import Jobs
from tests.trainer_runs import attempts
from trainer.exits import Exit

# Loaded by Python at its start from PYTHONPATH: lets rank 3 raise in its 20th step, as a bug in a model would.
BUG_IN_RANK_3 = """
import os, sys, importlib.abc, importlib.machinery

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trainer.engine.step":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            step, calls = module.TrainStep.__call__, []
            def broken(self, *args, **kwargs):
                calls.append(1)
                if os.environ.get("RANK") == "3" and len(calls) == 20:
                    raise ValueError("sample 17 has no label")
                return step(self, *args, **kwargs)
            module.TrainStep.__call__ = broken
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""
SCRIPT = """
import os, time
import torch.distributed as dist

dist.init_process_group("gloo")
dist.barrier()
if dist.get_rank() == 3:
    raise ValueError("sample 17 has no label")
dist.barrier()
"""


def test_a_trainer_that_raises_in_rank_3_fails_the_job_at_once(jobs: Jobs) -> None:
    folder = jobs.put("sitecustomize.py", BUG_IN_RANK_3)
    jobs.submit("job", "--gpus", "4", "--gpus-per-node", "2", env={"PYTHONPATH": folder})
    _assert_rank_3_is_named(jobs, line='raise ValueError("sample 17 has no label")')


@pytest.mark.parametrize("runner", ["supervisor", "torchrun"])
def test_a_script_that_raises_in_rank_3_fails_the_job_at_once(jobs: Jobs, runner: str) -> None:
    folder = jobs.put("train.py", SCRIPT)
    jobs.submit("job", "--gpus", "4", "--gpus-per-node", "2", command=[f"{folder}/train.py"], runner=runner)
    _assert_rank_3_is_named(jobs, line='raise ValueError("sample 17 has no label")')


def _assert_rank_3_is_named(jobs: Jobs, *, line: str) -> None:
    follower = jobs.start_launcher("wait", "job")
    assert jobs.wait_for_end("job") == "Failed", jobs.describe("job")
    jobs.wait_until(lambda: not _active(jobs), seconds=30, name="job")  # nobody holds a GPU any more
    jobs.wait_until(lambda: _gpus_used(jobs) == "0", seconds=30)
    document = jobs.status("job")
    failure = document["failure"]
    assert (document["state"], document["exit_code"]) == ("Failed", Exit.USER_EXCEPTION)
    assert (failure["rank"], failure["exception"]) == (3, "ValueError")
    assert failure["cause"].endswith("sample 17 has no label")
    assert any(line in one for one in failure["lines"]), failure
    shown = jobs.launcher("status", "job")
    for words in ("rank 3", "ValueError", "sample 17 has no label", line):
        assert words in shown.stdout + shown.stderr
    follower.communicate(timeout=30)
    assert follower.returncode == LauncherExit.JOB_FAILED
    assert _seconds_to_fail(jobs) < 30


def _active(jobs: Jobs) -> list[str]:
    return [pod["metadata"]["name"] for pod in jobs.pods("job") if pod["status"]["phase"] in ("Pending", "Running")]


def _gpus_used(jobs: Jobs) -> str:
    used = jobs.team.admin.json("get", "resourcequota", "training")["status"]["used"]
    return str(used["requests.nvidia.com/gpu"])


def _seconds_to_fail(jobs: Jobs) -> float:
    """From the end of the first container to the job's Failed condition."""
    ends = [
        datetime.fromisoformat(status["state"]["terminated"]["finishedAt"])
        for pod in jobs.pods("job")
        for status in pod["status"].get("containerStatuses", ())
        if "terminated" in status["state"]
    ]
    conditions = jobs.team.admin.json("get", "pytorchjob", "job")["status"]["conditions"]
    [failed] = [one for one in conditions if one["type"] == "Failed"]
    return (datetime.fromisoformat(failed["lastTransitionTime"]) - min(ends)).total_seconds()


def test_a_rank_that_runs_out_of_memory_twice_fails_the_job_with_its_limit(jobs: Jobs) -> None:
    """In a container that kills single processes; where the kernel kills all of it the launcher shows OOMKilled."""
    train = {"batch_size": 1437, "model": {"name": "feed-forward", "hidden": [20000, 20000]}}
    jobs.submit("job", train=train, gpus=0, processes=1, resources={"memory": "1Gi", "shm": "64Mi"})
    assert jobs.wait_for_end("job") == "Failed", jobs.describe("job")
    document = jobs.status("job")
    assert document["exit_code"] == Exit.ATTEMPTS_EXHAUSTED
    assert "memory limit of 1 GiB" in document["failure"]["cause"]
    assert "raise resources.memory" in document["failure"]["cause"]
    assert len(attempts(jobs.results_folder("job"))) == 2
