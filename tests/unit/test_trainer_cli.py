import json
from pathlib import Path

import pytest

from trainer import cli
from trainer.runtime.rendezvous import Place
from trainer.runtime.signals import SignalInbox


class _Inbox(SignalInbox):
    """One that leaves the test runner's own signal handlers alone."""

    def __init__(self) -> None:
        """Install nothing."""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The place of each run that was begun; none really runs."""
    asked: list[Place] = []

    def run(run_file: Path, folder: Path, *, place: Place, inbox: SignalInbox) -> int:
        asked.append(place)
        return 0

    monkeypatch.setattr(cli, "run", run)
    for name in ("PET_NPROC_PER_NODE", "PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "termination-log"))
    return asked


def _run(folder: Path, *options: str) -> int:
    return cli.main(["run", "--run-file", "run.json", "--results", str(folder), *options], _Inbox())


@pytest.mark.parametrize(
    ("environment", "options", "ranks"),
    [
        ({}, [], 1),
        ({"PET_NPROC_PER_NODE": "4", "PET_NNODES": "1"}, [], 4),
        ({"PET_NPROC_PER_NODE": "4"}, ["--nproc", "2"], 2),
        ({"PET_NPROC_PER_NODE": "", "PET_NNODES": ""}, [], 1),
    ],
)
def test_ranks_come_from_the_option_then_the_operator_then_are_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    places: list[Place],
    environment: dict[str, str],
    options: list[str],
    ranks: int,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _run(tmp_path, *options) == 0
    assert [(place.ranks_per_node, place.max_nodes) for place in places] == [(ranks, 1)]


def test_a_pod_finds_its_place_in_the_variables_of_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: list[Place]
) -> None:
    variables = {
        "NNODES": "4",
        "NODE_RANK": "3",
        "NPROC_PER_NODE": "8",
        "MASTER_ADDR": "job-worker-0",
        "MASTER_PORT": "5",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"PET_{name}", value)
    assert _run(tmp_path) == 0
    assert places == [Place(node=3, ranks_per_node=8, min_nodes=4, max_nodes=4, address="job-worker-0", port=5)]


@pytest.mark.parametrize(("nnodes", "node", "bounds"), [("1:4", 3, (1, 4)), ("2:2", 0, (2, 2)), ("1:2", 2, (1, 2))])
def test_an_elastic_job_has_bounds_and_a_node_beyond_them_does_not_fail_it(
    tmp_path: Path, places: list[Place], nnodes: str, node: int, bounds: tuple[int, int]
) -> None:
    assert _run(tmp_path, "--nnodes", nnodes, "--node-rank", str(node)) == 0
    assert [(place.node, place.min_nodes, place.max_nodes) for place in places] == [(node, *bounds)]


@pytest.mark.parametrize(
    ("environment", "options", "words"),
    [
        ({"PET_NNODES": "4:1"}, [], "--nnodes (default: PET_NNODES): 1 <= MIN <= MAX must hold (got 4:1)"),
        ({}, ["--nnodes", "0:2"], "1 <= MIN <= MAX must hold (got 0:2)"),
        ({}, ["--nnodes", "0"], "1 <= MIN <= MAX must hold (got 0)"),
        ({}, ["--nnodes", "1:2:3"], "must be a whole number or MIN:MAX (got 1:2:3)"),
        ({}, ["--nnodes", ":2"], "must be a whole number or MIN:MAX (got :2)"),
        ({}, ["--nnodes", "auto"], "must be a whole number or MIN:MAX (got auto)"),
        ({"PET_NNODES": "2:2", "PET_NODE_RANK": "2"}, [], "--node-rank 2 must be less than --nnodes 2"),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "2"}, [], "--node-rank 2 must be less than --nnodes 2"),
        ({"PET_NPROC_PER_NODE": "auto"}, [], "PET_NPROC_PER_NODE"),
        ({}, ["--nproc", "0"], "must be a whole number >= 1 (got 0)"),
    ],
)
def test_numbers_that_cannot_be_served_end_as_bad_configuration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    places: list[Place],
    environment: dict[str, str],
    options: list[str],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _run(tmp_path, *options) == 2
    assert places == []
    message = json.loads((tmp_path / "termination-log").read_text())
    assert message["code"] == 2
    assert words in message["cause"]
    assert message["exception"] == "ConfigError"
