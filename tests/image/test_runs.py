"""The demo's training inside the image, under the limits of a ``restricted`` pod with a read-only root."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher import __version__
from launcher.job.digest import digest
from launcher.job.load import load_job
from tests.image.engine import ROOT, UID, Container, Engine, container
from tests.trainer_runs import RESULT_FILES, attempts, last_checkpoint, leftovers, metrics
from trainer.config import RunFile
from trainer.output.checkpoint import Checkpointer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

# The places that podman makes for the mounts, in a root that nothing else can write.
OF_THE_MOUNTS = {"/results", "/tmp", "/dev", "/etc", "/etc/pytorchjob", "/etc/pytorchjob/run.json"}


@dataclass(frozen=True)
class Volume:
    """What the cluster gives a pod: the results volume, the run file, the file for the last words."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, job: str = "digits", **overrides: str) -> "Volume":
        """A volume that only the trainer's user may write, and the run file of the demo's job."""
        (folder / "results").mkdir()
        os.chown(folder / "results", UID, UID)
        (folder / "termination-log").touch()
        (folder / "termination-log").chmod(0o666)
        text = (ROOT / "examples" / "digits.yaml").read_text()
        spec = load_job(text, filename="digits.yaml", name=job, overrides=list(overrides.items()))
        assert spec.train
        run = RunFile(
            job=job, namespace="local", digest=digest(spec), spec=spec.model_dump(mode="json"), train=spec.train
        )
        (folder / "run.json").write_text(run.model_dump_json())
        (folder / "run.json").chmod(0o444)
        return cls(folder)

    @property
    def results(self) -> Path:
        """The job's results folder, as this machine sees it."""
        return self.folder / "results" / "local" / "job"

    @property
    def last_words(self) -> dict[str, Any]:
        """The termination message."""
        message: dict[str, Any] = json.loads((self.folder / "termination-log").read_bytes())
        return message

    def run(self, engine: Engine, image: str, *options: str) -> AbstractContextManager[Container]:
        """A container that trains on two ranks."""
        return container(
            engine,
            image,
            *("run", "--run-file", "/etc/pytorchjob/run.json", "--results", "/results/local/job", "--nproc", "2"),
            volumes={
                self.folder / "results": "/results",
                self.folder / "run.json": "/etc/pytorchjob/run.json:ro",
                self.folder / "termination-log": "/dev/termination-log",
            },
            options=options,
        )


@pytest.fixture(scope="module")
def finished(
    engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Volume, Container]]:
    """The demo's job, run to its end without an interruption."""
    volume = Volume.make(tmp_path_factory.mktemp("finished"))
    with volume.run(engine, image) as run:
        run.start()
        assert run.wait() == 0, run.output()
        yield volume, run


def test_the_demo_leaves_all_its_results_on_the_volume_owned_by_the_trainers_user(
    finished: tuple[Volume, Container],
) -> None:
    volume, _ = finished
    for name in RESULT_FILES:
        assert (volume.results / name).exists(), name
    assert list((volume.results / "tensorboard").glob("events.*"))
    assert leftovers(volume.results) == []
    below = [volume.folder / "results", *(volume.folder / "results").rglob("*")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in below} == {(UID, UID)}


def test_the_demo_reaches_its_quality_and_tells_it_in_the_termination_message(
    finished: tuple[Volume, Container],
) -> None:
    volume, _ = finished
    summary = json.loads((volume.results / "summary.json").read_text())
    assert summary["metrics"]["accuracy"] > 0.97
    assert volume.last_words["code"] == 0
    assert volume.last_words["metrics"] == summary["metrics"]


def test_the_run_records_the_trainers_version(finished: tuple[Volume, Container]) -> None:
    volume, _ = finished
    assert json.loads((volume.results / "run.json").read_text())["versions"]["pytorchjob-launcher"] == __version__


def test_nothing_is_written_outside_the_volume(finished: tuple[Volume, Container]) -> None:
    changed = finished[1].changed_paths()
    assert "/results" in changed  # so changes are seen
    assert changed - OF_THE_MOUNTS == set()


def test_a_terminated_run_leaves_a_valid_checkpoint_and_ends_byte_equal_when_run_again(
    engine: Engine, image: str, finished: tuple[Volume, Container], tmp_path: Path
) -> None:
    volume = Volume.make(tmp_path)
    with volume.run(engine, image) as run:
        run.start()
        run.wait_until(lambda: max((line["step"] for line in metrics(volume.results)), default=0) >= 100)
        run.terminate()
        assert run.wait() == 143, run.output()
    assert volume.last_words["code"] == 143
    checkpoint = last_checkpoint(volume.results)
    Checkpointer(volume.results, keep=1).load(int(checkpoint.name.removeprefix("step-")))  # checks sizes and checksums
    with volume.run(engine, image) as run:
        run.start()
        assert run.wait() == 0, run.output()
    assert attempts(volume.results)[1]["resumed_from"] == checkpoint.name
    whole = finished[0].results
    assert (volume.results / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_the_first_process_handles_sigterm_before_torch_is_loaded(engine: Engine, image: str, tmp_path: Path) -> None:
    volume = Volume.make(tmp_path)
    with volume.run(engine, image) as run:
        engine.podman("init", run.name)  # its first process exists now, and waits
        pid = run.pid()
        start = subprocess.Popen(
            ["podman", "--runtime", "runc", "start", run.name], env=engine.environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not (_is_python(pid) and _handles_sigterm(pid)):
            # In this order: a library that is there before the handler was certainly loaded before it.
            loaded = _is_python(pid) and "libtorch" in Path(f"/proc/{pid}/maps").read_text()
            assert not (loaded and not _handles_sigterm(pid))
            assert time.monotonic() < deadline, run.output()
        os.kill(pid, 15)
        assert start.wait(60) == 0
        assert run.wait() == 143, run.output()
    assert metrics(volume.results) == []


def _is_python(pid: int) -> bool:
    """Whether the container's first process is the trainer yet; before that it is the runtime's own."""
    return b"trainer" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _handles_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (15 - 1) & 1)


def test_a_trainer_py_in_the_working_directory_is_not_taken_for_ours(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    (tmp_path / "trainer.py").write_text("raise SystemExit('the wrong trainer')\n")
    with container(engine, image, "check", volumes={tmp_path: "/work:ro"}, options=("--workdir=/work",)) as run:
        run.start()
        assert run.wait() == 0, run.output()
        assert json.loads(run.output())["versions"]["pytorchjob-launcher"] == __version__


def test_a_user_without_a_name_trains_too(engine: Engine, image: str, tmp_path: Path) -> None:
    """OpenShift picks a number of its own, with the group 0."""
    volume = Volume.make(tmp_path, **{"train.epochs": "1"})
    os.chown(volume.folder / "results", 0, 0)
    (volume.folder / "results").chmod(0o770)
    with volume.run(engine, image, "--user=1000660000:0") as run:
        run.start()
        assert run.wait() == 0, run.output()
    assert (volume.results / "summary.json").stat().st_uid == 1000660000
