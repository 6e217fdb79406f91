"""An elastic job is scaled by kubectl while it trains, and its learning curve is that of a job of a fixed size.

With the same global batch, the losses of all steps agree up to rounding exactly if every step was made of the same
samples: tests/distributed/test_elastic.py says more.
"""

from typing import Any

import pytest

from tests.cluster.jobs import Jobs
from tests.trainer_runs import attempts, leftovers, metrics

# A network whose training does not amplify rounding, and a batch that two ranks cannot share equally.
TRAIN: dict[str, Any] = {
    "epochs": 120,
    "batch_size": 43,
    "accumulate": 2,
    "data": {"kind": "digits", "augment": {"mirror": True, "pad_crop": 1}},
    "optimizer": {"name": "sgd", "lr": 0.05},
}
STEPS = 120 * (1437 // 43)
ONE_TO_TWO = {"gpus": {"min": 1, "max": 2}, "resources": {"gpus_per_node": 1}}


def members(jobs: Jobs, name: str) -> list[list[int]]:
    """The nodes of each attempt, oldest first."""
    history = attempts(jobs.results_folder(name))
    return [[place["node"] for place in attempt["rank_map"].values()] for attempt in history]


def wait_for_members(jobs: Jobs, name: str, nodes: list[int]) -> None:
    """Wait until the newest attempt is of these nodes, and trains."""
    jobs.wait_until(lambda: members(jobs, name)[-1:] == [nodes], name=name)
    begun = jobs.steps_done(name)
    jobs.wait_until(lambda: jobs.steps_done(name) > begun + 20, name=name)


def scale(jobs: Jobs, name: str, replicas: int) -> None:
    """What the guide tells a submitter to do, until the pods are that many."""
    jobs.team.submitter("scale", f"pytorchjob/{name}", f"--replicas={replicas}")
    jobs.wait_until(lambda: len(jobs.pods(name)) == replicas, name=name)


def grow(jobs: Jobs, name: str) -> None:
    """Scale from one worker to two; training rests until the new one has asked to take part: its start takes longer."""
    jobs.signal_newest_rank(f"{name}-worker-0", "STOP")
    scale(jobs, name, 2)
    log = ("logs", f"{name}-worker-1")
    jobs.wait_until(lambda: "runs without node 1" in jobs.team.submitter.run(*log).stdout, name=name)
    jobs.signal_newest_rank(f"{name}-worker-0", "CONT")


@pytest.mark.timeout(900)
def test_an_elastic_job_scaled_from_one_worker_to_two_and_back_uses_every_sample_once(jobs: Jobs) -> None:
    jobs.submit("elastic", train=TRAIN, **ONE_TO_TWO)
    wait_for_members(jobs, "elastic", [0, 1])
    begun_with = members(jobs, "elastic")  # with both, or first without the one that came late
    scale(jobs, "elastic", 1)
    wait_for_members(jobs, "elastic", [0])
    first = jobs.pod_uids("elastic")["elastic-worker-0"]
    grow(jobs, "elastic")
    wait_for_members(jobs, "elastic", [0, 1])
    status = jobs.status("elastic")
    assert (status["state"], status["ranks"], status["nodes"]) == ("Running", 2, 2)
    assert status["attempt"] == len(begun_with) + 2
    scale(jobs, "elastic", 1)
    wait_for_members(jobs, "elastic", [0])
    status = jobs.status("elastic")
    assert (status["state"], status["ranks"], status["nodes"], status["reason"]) == ("Running", 1, 1, "")

    assert jobs.wait_for_end("elastic") == "Succeeded"
    assert jobs.pod_uids("elastic") == {"elastic-worker-0": first}, "the pod that stayed was replaced"
    assert members(jobs, "elastic") == [*begun_with, [0], [0, 1], [0]]
    ends = [attempt["end"]["code"] for attempt in attempts(jobs.results_folder("elastic"))]
    assert ends == [143] * (len(begun_with) + 2) + [0]
    jobs.submit("fixed", train=TRAIN, gpus=0, processes=1)
    assert jobs.wait_for_end("fixed") == "Succeeded"
    assert_every_sample_was_used_once(jobs)


def assert_every_sample_was_used_once(jobs: Jobs) -> None:
    folder = jobs.results_folder("elastic")
    ours, theirs = metrics(folder), metrics(jobs.results_folder("fixed"))
    assert [line["step"] for line in ours if line["kind"] == "step"] == list(range(1, STEPS + 1))
    assert theirs[-1]["train_loss"] < 0.5 * theirs[0]["loss"], "a run that does not learn proves nothing"
    assert [(line["kind"], line["step"]) for line in ours] == [(line["kind"], line["step"]) for line in theirs]
    pairs = [(a[key], b[key]) for a, b in zip(ours, theirs, strict=True) for key in ("loss", "train_loss") if key in a]
    difference = max(abs(mine - other) for mine, other in pairs)
    print(f"largest difference of a loss over {STEPS} steps: {difference:.2e}")
    assert difference <= 1e-5
    assert not leftovers(folder)


def test_an_elastic_job_takes_in_the_replacement_of_a_deleted_pod_and_says_when_it_was_scaled_too_far(
    jobs: Jobs,
) -> None:
    jobs.submit("elastic", train={**TRAIN, "epochs": 100_000}, **ONE_TO_TWO)
    wait_for_members(jobs, "elastic", [0, 1])
    count = len(members(jobs, "elastic"))
    before = jobs.pod_uids("elastic")
    jobs.team.admin("delete", "pod", "elastic-worker-1", "--wait=false")
    jobs.wait_until(lambda: len(members(jobs, "elastic")) > count, name="elastic")
    wait_for_members(jobs, "elastic", [0, 1])
    after = jobs.pod_uids("elastic")
    assert [after[pod] == before[pod] for pod in ("elastic-worker-0", "elastic-worker-1")] == [True, False]

    jobs.team.submitter("scale", "pytorchjob/elastic", "--replicas=0")
    jobs.wait_until(lambda: jobs.condition("elastic") == "Succeeded", name="elastic")
    status = jobs.status("elastic")
    assert (status["state"], status["exit_code"]) == ("Failed", None)
    assert status["reason"].startswith("scaled to 0")
    again = jobs.launcher("submit", str(jobs.team.folder / "elastic.yaml"))
    assert again.returncode == 0, again.stderr
    wait_for_members(jobs, "elastic", [0, 1])
    assert attempts(jobs.results_folder("elastic"))[-1]["resumed_from"], "it began anew"
