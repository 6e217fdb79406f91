"""An elastic job grows and shrinks while it trains, and its learning curve is that of a job of a fixed size.

With the same global batch, the losses of all steps agree up to rounding exactly if every step was made of the same
samples: a sample that was repeated or skipped would change the mean loss of its step by far more.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.nodes import Job
from tests.trainer_runs import attempts, leftovers, metrics, tiny, train_to_end

# A network whose training does not amplify rounding: a convolutional one does, by a factor of 100,000 in 50 steps.
TRAIN = tiny(
    epochs=12,
    batch_size=43,  # which neither two ranks nor two micro-batches share equally
    accumulate=2,
    data={"kind": "digits", "augment": {"mirror": True, "pad_crop": 1}},
    optimizer={"name": "sgd", "lr": 0.05},
)
STEPS_PER_EPOCH = 1437 // 43
STEPS = 12 * STEPS_PER_EPOCH


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[list[Job]]:
    made: list[Job] = []
    yield made
    for job in made:
        job.kill()


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_to_end(tmp_path_factory.mktemp("one-node"), TRAIN, ranks=1)


def grow(job: Job, node: int, *, attempt: int) -> None:
    """Add ``node``; the others' ranks rest in the step they are in until it has asked to take part."""
    rank = job.rank_of(0)
    os.kill(rank, signal.SIGSTOP)
    job.start(node)
    job.wait_for_words(f"runs without node {node}")
    os.kill(rank, signal.SIGCONT)
    job.wait_for_words(f"attempt {attempt}: 1 of {len(job.nodes)} ranks started")


def step_of(checkpoint: str | None) -> int:
    return int((checkpoint or "step-0").removeprefix("step-"))


def assert_every_sample_was_used_once(folder: Path, fixed: Path) -> None:
    ours, theirs = metrics(folder), metrics(fixed)
    assert [line["step"] for line in ours if line["kind"] == "step"] == list(range(1, STEPS + 1))
    assert [(line["kind"], line["step"], line["epoch"]) for line in ours] == [
        (line["kind"], line["step"], line["epoch"]) for line in theirs
    ]
    assert theirs[-1]["train_loss"] < 0.5 * theirs[0]["loss"], "a run that does not learn proves nothing"
    pairs = [(a[key], b[key]) for a, b in zip(ours, theirs, strict=True) for key in ("loss", "train_loss") if key in a]
    difference = max(abs(mine - other) for mine, other in pairs)
    print(f"largest difference of a loss over {STEPS} steps: {difference:.2e}")
    assert difference <= 1e-5
    assert not leftovers(folder)


def sizes(history: list[dict[str, Any]]) -> list[list[int]]:
    """The nodes of each attempt, as its rank map names them."""
    for attempt in history:
        assert (attempt["nodes"], attempt["ranks"]) == (len(attempt["rank_map"]), len(attempt["rank_map"]))
    return [[place["node"] for place in attempt["rank_map"].values()] for attempt in history]


def test_an_elastic_job_grows_and_shrinks_inside_an_epoch_and_uses_every_sample_once(
    tmp_path: Path, fixed: Path, jobs: list[Job]
) -> None:
    job = Job(tmp_path, TRAIN, nnodes="1:2", begin_with=1)
    jobs.append(job)
    job.wait_for_step(13)
    grow(job, 1, attempt=2)
    grown = attempts(tmp_path)[1]
    job.wait_for_step(step_of(grown["resumed_from"]) + 40)
    job.nodes[1].process.terminate()
    assert job.nodes[1].wait() == 143, job.nodes[0].output()
    assert job.nodes[0].wait() == 0, job.nodes[0].output()

    first, second, third = history = attempts(tmp_path)
    assert sizes(history) == [[0], [0, 1], [0]]
    assert [attempt["end"]["code"] for attempt in history] == [143, 143, 0]
    assert first["end"]["cause"] == "saved, to go on with a node that came later"
    assert second["end"]["cause"] == "asked to leave; saved"
    assert any(step_of(attempt["resumed_from"]) % STEPS_PER_EPOCH for attempt in (second, third)), "not inside an epoch"
    assert_every_sample_was_used_once(tmp_path, fixed)


@pytest.mark.slow
def test_an_elastic_job_goes_on_without_a_node_that_vanished_and_grows_again_with_its_replacement(
    tmp_path: Path, fixed: Path, jobs: list[Job]
) -> None:
    train = {**TRAIN, "checkpoint": {"every_steps": 7}, "restarts": {"backoff_seconds": 0.05}}
    job = Job(tmp_path, train, nnodes="1:2", begin_with=2)
    jobs.append(job)
    job.wait_for_step(33)
    job.nodes[1].process.kill()
    job.nodes[1].wait()
    job.wait_for_words("attempt 2: 1 of 1 ranks started")
    job.wait_for_step(43)
    grow(job, 1, attempt=3)
    assert job.wait() == [0, 0], job.nodes[0].output()

    history = attempts(tmp_path)
    assert sizes(history) == [[0, 1], [0], [0, 1]]
    assert [attempt["end"]["code"] for attempt in history] == [138, 143, 0]
    assert_every_sample_was_used_once(tmp_path, fixed)


@pytest.mark.slow
def test_an_elastic_job_waits_for_its_least_number_of_nodes_and_leaves_gaps_where_they_are(
    tmp_path: Path, fixed: Path, jobs: list[Job]
) -> None:
    job = Job(tmp_path, TRAIN, nnodes="2:3", begin_with=1)
    jobs.append(job)
    job.start(2)
    job.wait_for_words("attempt 1: 1 of 2 ranks started")
    job.wait_for_step(17)
    job.nodes[2].process.terminate()
    assert job.nodes.pop(2).wait() == 143, job.nodes[0].output()
    job.wait_for_words("generation 2: waiting for 1 to 2 nodes")
    job.start(1)
    assert job.wait() == [0, 0], job.nodes[0].output()

    history = attempts(tmp_path)
    assert sizes(history) == [[0, 2], [0, 1]]
    assert_every_sample_was_used_once(tmp_path, fixed)


@pytest.mark.slow
def test_an_elastic_job_waits_for_the_replacement_of_node_0(tmp_path: Path, fixed: Path, jobs: list[Job]) -> None:
    job = Job(tmp_path, {**TRAIN, "checkpoint": {"every_steps": 7}}, nnodes="1:2")
    jobs.append(job)
    job.wait_for_step(40)
    job.nodes[0].process.kill()
    job.nodes[0].wait()
    job.start(0)
    assert job.wait() == [0, 0], job.nodes[0].output()
    assert sizes(attempts(tmp_path))[-1] == [0, 1]
    assert_every_sample_was_used_once(tmp_path, fixed)


@pytest.mark.slow
def test_nodes_that_left_or_vanished_while_they_waited_are_not_waited_for(tmp_path: Path, jobs: list[Job]) -> None:
    job = Job(tmp_path, tiny(epochs=1), nnodes="3:4", begin_with=2)
    jobs.append(job)
    job.wait_for_words("generation 1: node 1 waits")
    job.nodes.pop(1).process.kill()
    job.start(2)
    job.wait_for_words("generation 1: node 2 waits")
    job.nodes[2].process.terminate()
    assert job.nodes[2].wait() == 143, job.nodes[0].output()
    job.start(2)
    job.start(3)
    assert job.wait() == [0, 0, 0], job.nodes[0].output()
    assert sizes(attempts(tmp_path)) == [[0, 2, 3]]


@pytest.mark.slow
def test_a_node_that_comes_after_the_last_step_ends_with_the_job(tmp_path: Path, jobs: list[Job]) -> None:
    job = Job(tmp_path, tiny(epochs=1), nnodes="1:2", begin_with=1)
    jobs.append(job)
    job.nodes[0].wait_until(lambda: any(line["kind"] == "epoch" for line in metrics(tmp_path)))
    rank = job.rank_of(0)
    os.kill(rank, signal.SIGSTOP)
    job.start(1)
    job.wait_for_words("runs without node 1")
    os.kill(rank, signal.SIGCONT)
    assert job.wait() == [0, 0], job.nodes[0].output()
    assert sizes(attempts(tmp_path)) == [[0]]
