"""The results folder of a script: what counts as progress, its summary, and when the job is done."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from trainer.config import CommandFile
from trainer.output.results import is_complete
from trainer.output.script_results import newest_checkpoint, write_summary

RUN = CommandFile(job="own", namespace="local", digest="d", spec={}, command=("train.py",))


def write(path: Path, text: str = "", *, at: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def summary(folder: Path) -> dict[str, Any]:
    write_summary(RUN, folder, attempt=2)
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def test_a_file_that_is_written_again_and_a_new_one_are_new_checkpoints(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    write(tmp_path / "checkpoints/last.pt", at=1)
    first = newest_checkpoint(tmp_path)
    assert first == "last.pt of 1970-01-01T00:00:01.000000+00:00"
    write(tmp_path / "checkpoints/last.pt", at=2)
    second = newest_checkpoint(tmp_path)
    write(tmp_path / "checkpoints/step-5/shard-0.pt", at=3)
    third = newest_checkpoint(tmp_path)
    assert len({first, second, third}) == 3
    assert str(third).startswith("step-5/shard-0.pt of")


def test_hidden_files_and_other_folders_are_no_progress(tmp_path: Path) -> None:
    for name in ("checkpoints/.tmp-last.pt", "checkpoints/.tmp-step-5/shard-0.pt", "metrics.jsonl", "logs/x.pt"):
        write(tmp_path / name)
    assert newest_checkpoint(tmp_path) is None


def test_the_summary_has_the_metrics_of_the_last_whole_line(tmp_path: Path) -> None:
    lines = [
        '{"step": 1}',
        '{"kind": "epoch", "step": 9, "epoch": 3, "accuracy": 0.5, "loss": NaN, "more": [1]}',
        '{"st',
    ]
    write(tmp_path / "metrics.jsonl", "\n".join(lines))
    known = summary(tmp_path)
    assert (known["digest"], known["attempts"], known["exit_code"]) == ("d", 2, 0)
    assert (known["steps"], known["epochs"], known["metrics"]) == (9, 3, {"accuracy": 0.5})


def test_a_script_without_metrics_has_a_summary_too(tmp_path: Path) -> None:
    assert summary(tmp_path)["metrics"] == {}


def test_the_scripts_own_summary_stays_as_it_is_unless_it_is_none(tmp_path: Path) -> None:
    write(tmp_path / "summary.json", '{"metrics": {"bleu": 31.0}}')
    assert summary(tmp_path) == {"metrics": {"bleu": 31.0}}
    write(tmp_path / "summary.json", "bleu: 31")
    assert summary(tmp_path)["job"] == "own"


def attempt(folder: Path, number: int, code: int | None) -> None:
    end = None if code is None else {"code": code}
    write(folder / f"attempts/{number:04d}.json", json.dumps({"attempt": number, "end": end}))


@pytest.mark.parametrize(
    ("code", "digest", "complete"), [(0, "d", True), (1, "d", False), (None, "d", False), (0, "other", False)]
)
def test_a_script_is_done_when_there_is_a_summary_and_its_last_attempt_ended_well(
    tmp_path: Path, code: int | None, digest: str, complete: bool
) -> None:
    write(tmp_path / "run.json", json.dumps({"digest": digest}))
    attempt(tmp_path, 1, 0)
    attempt(tmp_path, 2, code)
    assert not is_complete(RUN, tmp_path), "without a summary"
    write(tmp_path / "summary.json", "{}")
    assert is_complete(RUN, tmp_path) == complete
