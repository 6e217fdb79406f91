"""Real training runs for tests: a tiny job, its supervisor as a process, and the folder it writes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

TINY: dict[str, Any] = {
    "task": "image-classification",
    "epochs": 2,
    "batch_size": 64,
    "data": {"kind": "digits"},
    "model": {"name": "feed-forward", "hidden": [32]},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "logging": {"every_steps": 1},
    "restarts": {"backoff_seconds": 0.05},
}

# What a finished run on two ranks leaves, besides TensorBoard's event files.
RESULT_FILES = (
    "run.json",
    "attempts/0001.json",
    "metrics.jsonl",
    "timing.jsonl",
    "checkpoints/best.json",
    "summary.json",
    "report.html",
    "classification_report.txt",
    "plots/learning_curves.png",
    "plots/confusion_matrix.png",
    "plots/class_scores.png",
    "plots/roc_curves.png",
    "plots/precision_recall_curves.png",
    "plots/calibration.png",
    "evaluation.json",
    "predictions/test.csv",
    "predictions/test_probabilities.npy",
    "predictions/worst.json",
    "predictions/worst/00.png",
    "exports/model.pt2",
    "logs/attempt-1/rank-0.log",
    "logs/attempt-1/rank-1.log",
)
OF_CLASSIFIERS = (
    "classification_report.txt",
    "plots/confusion_matrix.png",
    "plots/class_scores.png",
    "plots/roc_curves.png",
    "plots/precision_recall_curves.png",
    "plots/calibration.png",
    "evaluation.json",
    "predictions/test_probabilities.npy",
    "predictions/worst.json",
    "predictions/worst/00.png",
    "exports/model.pt2",
)


def tiny(**changes: Any) -> dict[str, Any]:
    """The tiny job's configuration with top-level keys replaced."""
    return {**TINY, **changes}


@dataclass
class TrainerProcess:
    """A supervisor that runs in a session of its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    def ranks(self) -> list[int]:
        """Pids of the living ranks."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def steps_done(self) -> int:
        """The last step in metrics.jsonl."""
        return max((line["step"] for line in metrics(self.folder)), default=0)

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 60) -> None:
        """Wait for ``condition``; fail when the run ends or the time is over before it holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the run ended too early:\n{self.output()}"
            assert time.monotonic() < end, f"waited {seconds} s in vain:\n{self.output()}"
            time.sleep(0.002)

    def wait(self, seconds: float = 120) -> int:
        """The supervisor's exit code."""
        return self.process.wait(seconds)

    def output(self) -> str:
        """What supervisor and ranks said, for failure messages."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text()}" for path in sorted((self.folder / "logs").rglob("*.log"))
        )


def start(
    folder: Path, train: dict[str, Any], *, ranks: int = 2, namespace: str = "local", node: tuple[str, ...] = ()
) -> TrainerProcess:
    """Start the trainer on ``folder`` the way a backend does; ``node`` has the options of one node of several."""
    identity = json.dumps({**train, "epochs": None}, sort_keys=True)
    content = {"job": "tiny", "namespace": namespace, "digest": identity, "spec": {"name": "tiny"}, "train": train}
    return start_run(folder, content, ranks=ranks, node=node)


def start_run(folder: Path, content: dict[str, Any], *, ranks: int = 2, node: tuple[str, ...] = ()) -> TrainerProcess:
    """Start the trainer with a run file of this content."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    run_file = folder / "submitted.json"
    run_file.write_text(json.dumps(content))
    with (folder / "logs" / "supervisor.log").open("ab") as log:
        command = [sys.executable, "-P", "-m", "trainer", "run"]
        options = ["--run-file", str(run_file), "--results", str(folder), "--nproc", str(ranks), *node]
        process = subprocess.Popen(
            [*command, *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )
    return TrainerProcess(process, folder)


@contextmanager
def running(folder: Path, train: dict[str, Any], *, ranks: int = 2) -> Iterator[TrainerProcess]:
    """A started run that leaves no process behind, whatever the test does."""
    run = start(folder, train, ranks=ranks)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait(10)


def train_to_end(folder: Path, train: dict[str, Any], *, ranks: int = 2) -> Path:
    """Run to success; the folder."""
    with running(folder, train, ranks=ranks) as run:
        assert run.wait() == 0, run.output()
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of metrics.jsonl so far."""
    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def attempts(folder: Path) -> list[dict[str, Any]]:
    """The attempts' records, oldest first."""
    return [json.loads(path.read_text()) for path in sorted((folder / "attempts").glob("*.json"))]


def last_checkpoint(folder: Path) -> Path:
    """The newest checkpoint's folder."""
    return max((folder / "checkpoints").glob("step-*"))


def leftovers(folder: Path) -> list[Path]:
    """Temporary files that should not be there."""
    return [path for path in folder.rglob("*") if path.name.startswith(".tmp-")]


def result_files(task: str, *, ranks: int) -> list[str]:
    """The files that a finished run of ``task`` leaves, besides TensorBoard's."""
    missing = {*(OF_CLASSIFIERS if task != "image-classification" else ()), "logs/attempt-1/rank-1.log"}
    logs = [f"logs/attempt-1/rank-{rank}.log" for rank in range(1, ranks)]
    return [*(name for name in RESULT_FILES if name not in missing), *logs]


def kill_a_rank(run: TrainerProcess) -> None:
    """SIGKILL the second rank; the supervisor must bring the run to its end."""
    os.kill(run.ranks()[1], signal.SIGKILL)
    assert run.wait() == 0, run.output()


def kill_supervisor(run: TrainerProcess) -> None:
    """SIGKILL the supervisor; its ranks must not outlive it."""
    ranks = run.ranks()
    run.process.kill()
    run.wait()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in ranks if psutil.pid_exists(pid)], timeout=5)
    assert not alive, "ranks outlived their supervisor"


def train_disturbed(
    folder: Path, train: dict[str, Any], step: int, disturb: Callable[[TrainerProcess], None], *, ranks: int = 2
) -> list[dict[str, Any]]:
    """Train, disturbing once at ``step``, submitting again where the run ended; the attempts."""
    with running(folder, train, ranks=ranks) as run:
        run.wait_until(lambda: run.steps_done() >= step)
        group = run.process.pid
        disturb(run)
    landed = attempts(folder)[0]
    assert landed["end"] is None or landed["end"]["code"] != 0, "the kill landed after the run"
    train_to_end(folder, train, ranks=ranks)
    assert not [p.pid for p in psutil.process_iter() if _group_of(p.pid) == group], "orphans of the first run"
    return attempts(folder)


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def assert_same_results(folder: Path, undisturbed: Path) -> None:
    """Weights, optimizer, metrics.jsonl, predictions and summary are byte-equal, and nothing temporary is left."""
    ours, theirs = last_checkpoint(folder), last_checkpoint(undisturbed)
    assert ours.name == theirs.name
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), f"{name} differs"
    for name in ("metrics.jsonl", "predictions/test.csv", "summary.json"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), f"{name} differs"
    assert not leftovers(folder)
