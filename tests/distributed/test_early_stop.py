"""Training ends before its last epoch when the validation split no longer gains."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer_runs import attempts, metrics, start, tiny, train_to_end

# No epoch after the first gains half of all samples, so the second and the third count.
NEVER_GAINS = tiny(
    epochs=30,
    data={"kind": "digits", "validation_fraction": 0.2},
    early_stop={"patience": 2, "min_gain": 0.5},
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_to_end(tmp_path_factory.mktemp("stopped"), NEVER_GAINS)


def _summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def test_it_ends_after_as_many_evaluations_without_a_gain_as_asked_for(stopped: Path) -> None:
    assert [line["epoch"] for line in metrics(stopped) if line["kind"] == "epoch"] == [1, 2, 3]
    summary = _summary(stopped)
    assert (summary["epochs"], summary["epochs_done"]) == (30, 3)


def test_the_best_epoch_is_what_is_evaluated_at_the_end(stopped: Path) -> None:
    lines = [line for line in metrics(stopped) if line["kind"] == "epoch"]
    best = max(lines, key=lambda line: (line["accuracy"], -line["epoch"]))
    checkpoint = _summary(stopped)["checkpoint"]
    assert checkpoint == {
        "step": best["step"],
        "selected_by": "validation accuracy",
        "validation_accuracy": best["accuracy"],
    }


def test_a_stopped_run_is_done_when_it_is_started_again(stopped: Path) -> None:
    again = start(stopped, NEVER_GAINS)
    assert again.wait() == 0
    assert len(attempts(stopped)) == 1


@pytest.mark.slow
def test_a_run_that_lost_its_summary_stops_at_the_same_place(stopped: Path, tmp_path: Path) -> None:
    before = (stopped / "metrics.jsonl").read_bytes()
    (stopped / "summary.json").rename(tmp_path / "summary.json")
    again = start(stopped, NEVER_GAINS)
    assert again.wait() == 0
    assert (stopped / "metrics.jsonl").read_bytes() == before
    assert _summary(stopped) == json.loads((tmp_path / "summary.json").read_text())
