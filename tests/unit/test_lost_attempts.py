"""Restarts that no supervisor lived to count are counted from what their attempts left."""

import json
from pathlib import Path

import pytest

from trainer.exits import Exit
from trainer.output.attempts import lost_without_progress

VANISHED = None


@pytest.mark.parametrize(
    ("history", "lost"),
    [
        ([], 0),
        ([("step-7", VANISHED)], 1),
        ([("step-7", VANISHED), ("step-7", Exit.INFRASTRUCTURE), ("step-7", 137)], 3),
        ([("step-7", VANISHED), ("step-7", Exit.PREEMPTED), ("step-7", VANISHED)], 2),
        ([(None, VANISHED), ("step-3", VANISHED), ("step-7", VANISHED)], 1),  # each of the others saved something new
        ([("step-7", VANISHED), ("step-7", Exit.ATTEMPTS_EXHAUSTED), ("step-7", VANISHED)], 1),  # submitted again since
    ],
)
def test_attempts_that_saved_nothing_new_are_counted(
    history: list[tuple[str | None, int | None]], lost: int, tmp_path: Path
) -> None:
    folder = tmp_path / "attempts"
    folder.mkdir()
    for number, (resumed, code) in enumerate(history, 1):
        end = None if code is None else {"code": int(code)}
        (folder / f"{number:04d}.json").write_text(json.dumps({"resumed_from": resumed, "end": end}))
    assert lost_without_progress(tmp_path, "step-7") == lost
