"""What ranks append to their logs, passed on to the supervisor's stdout as it comes.

The ranks' own output goes straight into their logs, so that nothing is lost and no rank ever waits for a reader.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.config.contract import PROGRESS_TAG
from trainer.runtime.ranks import RankSettings

_BLOCK = 1 << 16
# Of a line without an end only this much is kept: a progress bar writes on and on (bytes).
_LONGEST = 1 << 16
_PROGRESS = f"{PROGRESS_TAG} ".encode()


class LogEcho:
    """Follows the logs of a node's ranks.

    Rank 0's progress lines are passed on with the number of the attempt, for the launcher; those of other ranks are
    left out. Every other line goes out tagged as "[rank 3] text", where the ranks' settings ask for that.
    """

    def __init__(self, ranks: Sequence[RankSettings], *, attempt: int, descriptor: int = 1) -> None:
        self._attempt = attempt
        self._descriptor = descriptor
        self._logs = [(settings, _Lines(settings.log_file)) for settings in ranks]

    def copy(self, *, at_end: bool = False) -> None:
        """Pass on the lines that are new; ``at_end`` an unfinished last one too."""
        for settings, lines in self._logs:
            for line in lines.new(at_end=at_end):
                self._pass_on(settings, line)

    def _pass_on(self, settings: RankSettings, line: bytes) -> None:
        if line.startswith(_PROGRESS):
            if settings.rank == 0:
                os.write(self._descriptor, self._with_attempt(line) + b"\n")
        elif settings.echo:
            os.write(self._descriptor, f"[rank {settings.rank}] ".encode() + line + b"\n")

    def _with_attempt(self, progress: bytes) -> bytes:
        try:
            told = json.loads(progress.removeprefix(_PROGRESS))
        except (ValueError, RecursionError):
            return progress
        if not isinstance(told, dict):
            return progress
        return _PROGRESS + json.dumps({**told, "attempt": self._attempt}).encode()


class _Lines:
    """The lines of a file that another process appends to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._partial = b""

    def new(self, *, at_end: bool) -> Iterator[bytes]:
        """Lines since the last call, as a terminal would show them: what a carriage return overwrote is left out."""
        for block in self._blocks():
            *complete, partial = (self._partial + block).split(b"\n")
            self._partial = partial[-_LONGEST:]
            yield from (_shown(line) for line in complete)
        if at_end and self._partial:
            yield _shown(self._partial)
            self._partial = b""

    def _blocks(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                end = os.fstat(file.fileno()).st_size  # no further, however fast the rank writes
                file.seek(self._offset)
                while self._offset < end and (block := file.read(min(_BLOCK, end - self._offset))):
                    self._offset += len(block)
                    yield block
        except OSError:  # it is not there yet, or its storage is away: the next look goes on from here
            return


def _shown(line: bytes) -> bytes:
    return line.removesuffix(b"\r").rpartition(b"\r")[2]
