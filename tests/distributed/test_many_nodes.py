"""Several supervisors, as in several pods: they meet, lose one another, and end byte-equal to an undisturbed run.

Each node is a supervisor of its own on this machine, with two ranks in all; their store is on loopback.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributed.nodes import Job
from tests.distributed.test_kill_and_resume import STEPS, TRAIN
from tests.trainer_runs import assert_same_results, attempts, last_checkpoint, tiny, train_to_end


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path, TRAIN)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_to_end(tmp_path_factory.mktemp("one-node"), TRAIN, ranks=2)


def _assert_equal(folder: Path, undisturbed: Path) -> None:
    assert last_checkpoint(folder).name == f"step-{STEPS:08d}"
    assert_same_results(folder, undisturbed)


@pytest.mark.slow  # the tests below prove it too, with more going on
def test_two_nodes_train_like_two_ranks_of_one_node(job: Job, undisturbed: Path) -> None:
    assert job.wait() == [0, 0], job.nodes[0].output()
    _assert_equal(job.folder, undisturbed)
    [attempt] = attempts(job.folder)
    assert (attempt["nodes"], attempt["ranks"]) == (2, 2)
    assert attempt["rank_map"]["1"] == {"node": 1, "local_rank": 0}
    assert attempt["end"]["code"] == 0


EITHER_NODE = pytest.mark.parametrize("node", [0, pytest.param(1, marks=pytest.mark.slow)])


@pytest.mark.slow
@EITHER_NODE
def test_a_killed_rank_restarts_the_ranks_of_all_nodes_in_place(job: Job, undisturbed: Path, node: int) -> None:
    job.wait_for_step(30)
    os.kill(job.rank_of(node), signal.SIGKILL)
    assert job.wait() == [0, 0], job.nodes[0].output()
    _assert_equal(job.folder, undisturbed)
    first, second = attempts(job.folder)
    assert (first["end"]["code"], first["end"]["rank"]) == (137, node)
    assert second["resumed_from"] is not None


@EITHER_NODE
def test_a_node_that_vanishes_is_waited_for_and_the_others_outlive_it(job: Job, undisturbed: Path, node: int) -> None:
    job.wait_for_step(30)
    job.nodes[node].process.kill()
    job.nodes[node].wait()
    job.start(node)
    assert job.wait() == [0, 0], job.nodes[0].output()
    _assert_equal(job.folder, undisturbed)


@pytest.mark.slow
@EITHER_NODE
def test_only_the_node_that_is_asked_to_leave_leaves(job: Job, undisturbed: Path, node: int) -> None:
    job.wait_for_step(30)
    job.nodes[node].process.terminate()
    assert job.nodes[node].wait() == 143, job.nodes[0].output()
    assert job.nodes[1 - node].process.poll() is None
    job.start(node)
    assert job.wait() == [0, 0], job.nodes[0].output()
    _assert_equal(job.folder, undisturbed)


@pytest.mark.slow
def test_a_final_failure_on_one_node_ends_all_nodes_with_its_code(tmp_path: Path) -> None:
    job = Job(tmp_path, tiny(optimizer={"name": "sgd", "lr": 1e30}))
    try:
        assert job.wait() == [4, 4], job.nodes[0].output()
    finally:
        job.kill()
    [attempt] = attempts(tmp_path)
    assert attempt["end"]["code"] == 4
    assert "not finite" in attempt["end"]["cause"]
