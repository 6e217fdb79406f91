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


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Results folders of two runs, and a working directory."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"job": folder.name}))
        (folder / "summary.json").write_text(json.dumps({"metrics": {"accuracy": 0.5}}))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folders


@pytest.mark.parametrize("options", [["{0}"], ["--results", "{0}"], ["{0}", "-o", "{0}/report.html"]])
def test_a_report_of_one_run_is_written_into_its_folder(
    runs: list[Path], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", *(option.format(*runs) for option in options)]) == 0
    page = runs[0] / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    assert "<title>first</title>" in page.read_text()


@pytest.mark.parametrize(("options", "page"), [([], "report.html"), (["-o", "compared.html"], "compared.html")])
def test_a_report_of_several_runs_compares_them(
    runs: list[Path], options: list[str], page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", *map(str, runs), *options]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "<title>2 runs compared</title>" in Path(page).read_text()


def test_reports_that_cannot_be_written_say_why(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = map(str, runs)
    assert cli.main(["report"]) == 2
    assert cli.main(["report", first, f"{second}/typo"]) == 5
    (runs[1] / "summary.json").unlink()
    assert cli.main(["report", second]) == 5
    monkeypatch.chdir(first)
    assert cli.main(["report", ".", second]) == 2
    assert cli.main(["report", ".", second, "-o", "no/such/folder.html"]) == 5
    for words, message in zip(
        (
            "give the results folder of a job, or several to compare them",
            "typo: there is no such folder; give the results folder",
            f"no finished run in {second}: summary.json is missing",
            "./report.html is the report of the run in this folder; choose another file with -o",
            "cannot write no/such/folder.html: No such file or directory",
        ),
        caplog.messages,
        strict=True,
    ):
        assert words in message
    assert not Path("report.html").exists()
