"""Scripts of the user's own under the supervisor: their environment, their ends, and how they go on.

The scripts here import no torch, so that they start at once; tests/local/test_own_script.py trains with one that does.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.distributed.nodes import Job
from tests.trainer_runs import TrainerProcess, attempts, start_run

HEAD = """
import json, os, pathlib, signal, subprocess, sys, time
results = pathlib.Path(os.environ["RESULTS_DIR"])
rank, attempt = int(os.environ["RANK"]), int(os.environ["ATTEMPT"])
(results / f"started-{attempt}-{rank}").touch()
def save(name):
    (results / "checkpoints").mkdir(exist_ok=True)
    (results / "checkpoints" / name).touch()
"""
CHILD = """
if attempt == 1:
    child = subprocess.Popen(["sleep", "600"])
    (results / f"child-{rank}.part").write_text(str(child.pid))
    os.rename(results / f"child-{rank}.part", results / f"child-{rank}")
"""
Start = Callable[..., TrainerProcess]


def run_file(folder: Path, body: str, *arguments: str, namespace: str = "local", **restarts: Any) -> dict[str, Any]:
    """A run file for a script with this body, which is written beside the results."""
    script = folder.with_suffix(".py")
    script.write_text(HEAD + body)
    return {
        "job": "own",
        "namespace": namespace,
        "digest": "d",
        "spec": {"name": "own"},
        "command": [str(script), *arguments],
        "restarts": {"backoff_seconds": 0.01, **restarts},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts a script on two ranks; nothing outlives the test."""
    started: list[TrainerProcess] = []

    def start(body: str, *arguments: str, **options: Any) -> TrainerProcess:
        started.append(start_run(folder, run_file(folder, body, *arguments, **options)))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.wait()


def end_of(folder: Path) -> dict[str, Any]:
    """How the newest attempt ended."""
    end: dict[str, Any] = attempts(folder)[-1]["end"]
    return end


def wait_for_ranks(run: TrainerProcess, *, attempt: int = 1) -> None:
    """Until both ranks of an attempt are at work."""
    run.wait_until(lambda: len(list(run.folder.glob(f"started-{attempt}-*"))) == 2)


def children_of_ranks(run: TrainerProcess) -> list[int]:
    """What both ranks started by ``CHILD``, once they have."""
    run.wait_until(lambda: len(list(run.folder.glob("child-[01]"))) == 2)
    return [int((run.folder / f"child-{rank}").read_text()) for rank in (0, 1)]


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that run."""
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_each_rank_sees_what_torchrun_sets_and_where_its_results_go(start: Start, folder: Path) -> None:
    dump = '(results / f"{rank}.json").write_text(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))'
    run = start(dump, "--out=$(RESULTS_DIR)", "$$")
    assert run.wait() == 0, run.output()
    seen = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    for rank, (arguments, directory, variables) in enumerate(seen):
        assert arguments == [f"--out={folder}", "$"]
        assert directory == str(folder)  # where the test started the supervisor
        own = {"RANK": rank, "LOCAL_RANK": rank, "ROLE_RANK": rank, "GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1}
        size = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "ROLE_WORLD_SIZE": 2, "ROLE_NAME": "default"}
        elastic = {"RESTART_COUNT": 0, "MAX_RESTARTS": 3, "RUN_ID": "own", "USE_AGENT_STORE": False}
        ours = {"RESULTS_DIR": folder, "ATTEMPT": 1, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": 1}
        expected = {**own, **size, **ours, **{f"TORCHELASTIC_{name}": value for name, value in elastic.items()}}
        assert {name: variables.get(name) for name in expected} == {
            name: str(value) for name, value in expected.items()
        }
    assert seen[0][2]["MASTER_PORT"] == seen[1][2]["MASTER_PORT"]


def test_a_script_that_ends_well_has_a_summary_and_is_not_run_again(start: Start, folder: Path) -> None:
    body = 'if rank == 0: (results / "metrics.jsonl").write_text(\'{"step": 7, "loss": 0.5}\\n\')'
    assert start(body).wait() == 0
    known = json.loads((folder / "summary.json").read_text())
    assert (known["steps"], known["metrics"], end_of(folder)["code"]) == (7, {"loss": 0.5}, 0)
    again = start(body)
    assert again.wait() == 0
    assert "already done" in again.output()
    assert len(attempts(folder)) == 1


def test_a_final_end_stops_the_other_ranks_is_named_and_not_tried_again(start: Start, folder: Path) -> None:
    body = 'if rank == 1: raise ValueError("sample 17 has no label")\ntime.sleep(600)'
    assert start(body).wait() == 1
    [attempt] = attempts(folder)
    end = attempt["end"]
    assert (end["code"], end["rank"], end["exception"], end["cause"]) == (1, 1, "ValueError", "sample 17 has no label")
    assert any('raise ValueError("sample 17 has no label")' in line for line in end["lines"])
    assert not (folder / "summary.json").exists()


@pytest.mark.slow
def test_an_exit_code_of_the_scripts_own_is_the_jobs(start: Start, folder: Path) -> None:
    assert start("time.sleep(rank * 600)\nsys.exit(3)").wait() == 3
    assert end_of(folder)["cause"] == "the script ended: data missing or unreadable"


@pytest.mark.parametrize(
    ("saves", "code", "starts"),
    [
        pytest.param(True, 0, 4, id="with a new checkpoint"),
        pytest.param(False, 7, 2, id="without", marks=pytest.mark.slow),
    ],
)
def test_a_crash_is_tried_again_for_as_long_as_the_script_saves(
    start: Start, folder: Path, saves: bool, code: int, starts: int
) -> None:
    body = f"""
if rank == 0 and attempt < 4:
    if {saves}: save("last.pt")
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    run = start(body, max_without_progress=1)
    assert run.wait() == code, run.output()
    history = attempts(folder)
    assert [attempt["end"]["code"] for attempt in history] == [139] * (starts - 1) + [code]
    assert all(str(attempt["resumed_from"]).startswith("last.pt of") for attempt in history[1:]) == saves


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            'signal.signal(signal.SIGTERM, lambda *_: (save("last.pt"), sys.exit(143)))', id="saves and leaves"
        ),
        pytest.param(
            'signal.signal(signal.SIGTERM, lambda *_: (save("last.pt"), sys.exit(0)))',
            id="ends with 0",
            marks=pytest.mark.slow,
        ),
        pytest.param("", id="knows nothing of it", marks=pytest.mark.slow),
    ],
)
def test_a_script_that_is_asked_to_leave_is_not_done_and_goes_on_when_started_again(
    start: Start, folder: Path, body: str
) -> None:
    wait = f"{CHILD}\nif attempt == 1: time.sleep(600)"
    run = start(f"{body}\n{wait}")
    children = children_of_ranks(run)
    run.process.terminate()
    assert run.wait() == 143, run.output()
    assert not alive(children)
    assert end_of(folder)["code"] == 143
    assert not (folder / "summary.json").exists()
    assert (folder / "checkpoints" / "last.pt").exists() == bool(body)
    again = start(f"{body}\n{wait}")
    assert again.wait() == 0, again.output()
    assert [attempt["end"]["code"] for attempt in attempts(folder)] == [143, 0]


def test_what_a_script_started_does_not_outlive_its_rank(start: Start, folder: Path) -> None:
    run = start(f"{CHILD}\nif attempt == 1: time.sleep(600)")
    children = children_of_ranks(run)
    os.kill(run.ranks()[1], signal.SIGKILL)
    assert run.wait() == 0, run.output()
    assert [attempt["end"]["code"] for attempt in attempts(folder)] == [137, 0]
    assert not alive(children)


def test_a_killed_supervisor_takes_its_scripts_along(start: Start) -> None:
    run = start("time.sleep(600)")
    wait_for_ranks(run)
    ranks = [psutil.Process(pid) for pid in run.ranks()]
    run.process.kill()
    run.wait()
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert len(ranks) == 2
    assert not alive


def test_the_scripts_of_a_supervisor_whose_job_was_started_elsewhere_are_stopped(start: Start, folder: Path) -> None:
    run = start("time.sleep(600)")
    wait_for_ranks(run)
    (folder / "attempts" / "0002.json").write_text('{"attempt": 2, "end": null}')
    assert run.wait() == 138, run.output()
    assert "superseded by attempt 2" in attempts(folder)[0]["end"]["cause"]


def test_in_a_cluster_the_pods_log_and_its_last_message_tell_of_the_script(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERMINATION_LOG", str(folder.with_suffix(".message")))
    body = """
print("hello", flush=True)
print('@progress {"step": 1, "steps": 2}', flush=True)
(results / f"said-{rank}").touch()
while rank or not (results / "said-1").exists():
    time.sleep(0.01)
raise KeyError("label")
"""
    assert start(body, namespace="training").wait() == 1
    said = (folder / "logs" / "supervisor.log").read_text().splitlines()
    assert {"[rank 0] hello", "[rank 1] hello", "[rank 0] KeyError: 'label'"} <= set(said)
    assert said.count('@progress {"step": 1, "steps": 2, "attempt": 1}') == 1
    message = json.loads(folder.with_suffix(".message").read_text())
    assert (message["code"], message["rank"], message["exception"], message["cause"]) == (1, 0, "KeyError", "'label'")


class ScriptJob(Job):
    """Nodes with one rank each that run a script."""

    def __init__(self, folder: Path, body: str, **options: Any) -> None:
        self._content = run_file(folder, body)
        super().__init__(folder, {}, **options)

    def start_with(self, options: tuple[str, ...]) -> TrainerProcess:
        return start_run(self.folder, self._content, ranks=1, node=options)

    def wait_for_file(self, name: str) -> None:
        self.nodes[0].wait_until(lambda: (self.folder / name).exists())


@pytest.fixture
def jobs(folder: Path) -> Iterator[Callable[..., ScriptJob]]:
    made: list[ScriptJob] = []

    def start(body: str, **options: Any) -> ScriptJob:
        made.append(ScriptJob(folder, body, **options))
        return made[-1]

    yield start
    for job in made:
        job.kill()


@pytest.mark.slow
def test_no_node_ends_before_the_scripts_of_all_nodes_are_done(jobs: Callable[..., ScriptJob], folder: Path) -> None:
    body = """
if rank == 1:
    while not (results / f"end-{attempt}").exists(): time.sleep(0.02)
    if attempt == 1: os.kill(os.getpid(), signal.SIGKILL)
else:
    (results / f"done-{attempt}").touch()
"""
    job = jobs(body)
    for attempt in (1, 2):
        job.wait_for_file(f"done-{attempt}")
        job.wait_for_file(f"started-{attempt}-1")
        time.sleep(1.5)  # longer than a supervisor sleeps
        assert job.nodes[0].process.poll() is None
        assert not (folder / "summary.json").exists()
        (folder / f"end-{attempt}").touch()
    assert job.wait() == [0, 0], job.nodes[0].output()
    assert [attempt["end"]["code"] for attempt in attempts(folder)] == [137, 0]
    assert (folder / "summary.json").exists()


@pytest.mark.slow
def test_an_elastic_script_is_asked_to_leave_and_started_anew_as_nodes_come_and_go(
    jobs: Callable[..., ScriptJob], folder: Path
) -> None:
    body = """
signal.signal(signal.SIGTERM, lambda *_: (save(f"{attempt}-{rank}.pt"), sys.exit(143)))
(results / f"world-{attempt}-{rank}-{os.environ['WORLD_SIZE']}").touch()
while not (results / "end").exists(): time.sleep(0.02)
"""
    job = jobs(body, nnodes="1:2", begin_with=1)
    job.wait_for_file("world-1-0-1")
    job.start(1)
    job.wait_for_file("world-2-0-2")
    job.wait_for_file("world-2-1-2")
    job.nodes[1].process.terminate()
    assert job.nodes[1].wait() == 143, job.nodes[0].output()
    job.wait_for_file("world-3-0-1")
    (folder / "end").touch()
    assert job.nodes[0].wait() == 0, job.nodes[0].output()
    assert [attempt["end"]["code"] for attempt in attempts(folder)] == [143, 143, 0]
    # Rank 0 was asked too when the other node was.
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"1-0.pt", "2-0.pt", "2-1.pt"}
