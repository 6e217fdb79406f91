"""How long training stands still after a failure, on a real cluster: two ways to agree on ranks.

python bench/restarts.py [--trials 3]

* static rank: the trainer's supervisor, with a pod's index as its node's rank (what the chart renders).
* c10d: torchrun's elastic agent with the c10d rendezvous on worker 0 and --max-restarts=20.

Both run two pods of two ranks on CPUs and save every step or few. Needs the cluster of the tests: make cluster-up, or
KUBECONFIG. A stand-still is the time from the disturbance until a step beyond the last one before it is done; "lost"
means that the job ended, or did nothing for two minutes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster import providers  # noqa: E402 - the tests' cluster is found from the root
from tests.cluster.jobs import Jobs  # noqa: E402
from tests.cluster.team import create_team, install_roles  # noqa: E402
from tests.trainer_runs import TINY  # noqa: E402

LOST_SECONDS = 120.0
PAUSE_SECONDS = 0.5
STEADY_SECONDS = 10.0
TRAIN = {
    **TINY,
    "epochs": 400,
    "batch_size": 32,
    "model": {"name": "convnet", "blocks": [[16, 16], [32, 32]]},
    "checkpoint": {"every_steps": 5},
}
SCRIPT = """
import os, pathlib, time
import torch, torch.distributed as dist

path = pathlib.Path(os.environ["RESULTS_DIR"]) / "steps"
dist.init_process_group("gloo")
step = torch.tensor(int(path.read_text() or 0) if path.exists() else 0)
dist.broadcast(step, 0)
while True:
    time.sleep(0.05)
    dist.all_reduce(torch.ones(1000))
    step += 1
    if dist.get_rank() == 0:
        path.write_text(str(int(step)))
"""


class Candidate:
    """One running job and the step that it has done."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def start(self) -> None:
        """Submit the job ``job``."""
        self.jobs.submit("job", "--gpus", "4", "--gpus-per-node", "2", train=TRAIN)

    def step(self) -> int:
        """The last step that is on record."""
        return self.jobs.steps_done("job")


class C10d(Candidate):
    """torchrun with c10d, in the same pods: the chart's own manifest with another command and environment."""

    def start(self) -> None:
        """Submit the job ``job``."""
        file = self.jobs.write("job", train=TRAIN)
        rendered = self.jobs.launcher("render", file, "--gpus", "4", "--gpus-per-node", "2", "-o", "json")
        [job] = [obj for obj in _objects(rendered.stdout) if obj["kind"] == "PyTorchJob"]
        workers = job["spec"]["pytorchReplicaSpecs"]["Worker"]
        workers["restartPolicy"] = "OnFailure"  # torchrun ends with 1 whatever happened, which ExitCode takes for final
        [container] = workers["template"]["spec"]["containers"]
        container["command"] = [
            "sh",
            "-c",
            'mkdir -p "$RESULTS_DIR"; echo "$SCRIPT" > /tmp/t.py; exec torchrun /tmp/t.py',
        ]
        container.pop("args")
        variables = {
            "SCRIPT": SCRIPT,
            "PET_RDZV_BACKEND": "c10d",
            "PET_RDZV_ENDPOINT": "job-worker-0:23456",
            "PET_RDZV_ID": "job",
            "PET_MAX_RESTARTS": "20",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
        kept = [one for one in container["env"] if one["name"] == "RESULTS_DIR" or not one["name"].startswith("PET_")]
        container["env"] = [*kept, *({"name": name, "value": value} for name, value in variables.items())]
        self.jobs.team.admin.apply([job])

    def step(self) -> int:
        """The last step that is on record."""
        path = self.jobs.results_folder("job") / "steps"
        return int(path.read_text() or 0) if path.exists() else 0


def _objects(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    objects: list[dict[str, Any]] = document if isinstance(document, list) else document.get("items", [document])
    return objects


DISTURBANCES: dict[str, Callable[[Jobs], object]] = {
    "SIGKILL of a rank": lambda jobs: jobs.signal_newest_rank("job-worker-1", "KILL"),
    "delete worker-1": lambda jobs: jobs.team.admin("delete", "pod", "job-worker-1", "--wait=false"),
    "delete worker-0": lambda jobs: jobs.team.admin("delete", "pod", "job-worker-0", "--wait=false"),
}


def wait_for_steps(candidate: Candidate) -> None:
    """Until the job trains."""
    candidate.jobs.wait_until(lambda: candidate.step() > 0, seconds=180, name="job")


def stand_still(candidate: Candidate, disturb: Callable[[Jobs], object]) -> float | None:
    """Seconds until the next new step after a disturbance; None where none came."""
    before = candidate.step()
    start = time.monotonic()
    while candidate.step() < before + 20:
        if time.monotonic() > start + LOST_SECONDS:
            return None
        time.sleep(0.05)
    disturb(candidate.jobs)
    # A rank that was asked to leave still ends its step: what counts is the longest pause until all is steady again.
    begin = moved = time.monotonic()
    last, longest, steady_since = candidate.step(), 0.0, begin
    while time.monotonic() < begin + LOST_SECONDS:
        now, step = time.monotonic(), candidate.step()
        if step > last:
            last, moved = step, now
        longest = max(longest, now - moved)
        if now - moved > PAUSE_SECONDS:
            steady_since = now
        if now - steady_since > STEADY_SECONDS:
            return longest
        time.sleep(0.02)
    return None


def main() -> None:
    """Print a table of the stand-stills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    trials = parser.parse_args().trials
    cluster = providers.provider(providers.default()).running()
    if cluster is None:
        sys.exit("no cluster is running; start one with: make cluster-up")
    install_roles(cluster)
    print(f"{'candidate':12}  {'disturbance':18}  seconds")
    for name, kind in (("static rank", Candidate), ("c10d", C10d)):
        for words, disturb in DISTURBANCES.items():
            with tempfile.TemporaryDirectory() as folder:
                team = create_team(cluster, f"bench-{int(time.time())}", Path(folder))
                candidate = kind(Jobs(team))
                try:
                    candidate.start()
                    wait_for_steps(candidate)
                    times = [stand_still(candidate, disturb) for _ in range(trials)]
                finally:
                    team.delete()
            known = [one for one in times if one is not None]
            median = f"median {statistics.median(known):.1f}" if known else ""
            shown = " ".join("lost" if one is None else f"{one:.1f}" for one in times)
            print(f"{name:12}  {words:18}  {shown}  {median}", flush=True)


if __name__ == "__main__":
    main()
