"""Attempts: numbered, created exclusively, so that of two supervisors of one job the newer one wins."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.config.contract import ATTEMPTS_DIR
from trainer.exits import Exit, InfrastructureError, is_final
from trainer.output.storage import create_json, make_directory, write_json


def newest_attempt(folder: Path) -> int:
    """The highest attempt number in the results ``folder``; 0 when there is none."""
    return max((int(path.stem) for path in (folder / ATTEMPTS_DIR).glob("[0-9]*.json")), default=0)


def newest_end(folder: Path) -> int | None:
    """The exit code of the newest attempt; None while it runs, where it vanished, and where there is none."""
    try:
        record = json.loads((folder / ATTEMPTS_DIR / f"{newest_attempt(folder):04d}.json").read_text())
    except FileNotFoundError:
        return None
    return record["end"] and int(record["end"]["code"])


def lost_without_progress(folder: Path, checkpoint: str | None) -> int:
    """Attempts in a row, the newest last, that failed or vanished and left ``checkpoint`` the newest.

    A preemption is nobody's fault and does not count; a final end closes the account.
    """
    lost = 0
    for path in sorted((folder / ATTEMPTS_DIR).glob("[0-9]*.json"), reverse=True):
        record = json.loads(path.read_text())
        code = record["end"] and record["end"]["code"]
        if record["resumed_from"] != checkpoint or (code is not None and is_final(code)):
            break
        lost += code != Exit.PREEMPTED
    return lost


def now() -> str:
    """The time in UTC, as attempts record it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Attempt:
    """One start of all ranks."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        """Take the next free number and record ``facts`` under it."""
        make_directory(folder / ATTEMPTS_DIR)
        self.folder = folder
        self._facts = {**facts, "started": now(), "end": None}
        self.number = newest_attempt(folder) + 1
        while not create_json(self._path(self.number), {"attempt": self.number, **self._facts}):
            self.number += 1

    def _path(self, number: int) -> Path:
        return self.folder / ATTEMPTS_DIR / f"{number:04d}.json"

    def close(self, end: dict[str, Any]) -> None:
        """Record how the attempt ended."""
        self._facts["end"] = {**end, "ended": now()}
        write_json(self._path(self.number), {"attempt": self.number, **self._facts})


def check_not_superseded(folder: Path, attempt: int) -> None:
    """Stop a writer whose job has been started again elsewhere."""
    newest = newest_attempt(folder)
    if newest > attempt:
        raise InfrastructureError(f"attempt {attempt} was superseded by attempt {newest}; this writer stops")
