"""Reading logs that are still being written: whole lines, from where the last look ended."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.backends.base import LogLine
from trainer.config.contract import PROGRESS_TAG

BLOCK = 1 << 16
# A script prints its progress lines among others. They are not shown, so more lines than wanted are looked at.
PROGRESS_SHARE = 4


class GrowingFile:
    """A text file that another process appends to; it may not exist yet."""

    def __init__(self, path: Path, *, start: int = 0) -> None:
        self.path = path
        self._offset = start
        self._partial = b""

    def skip_to_tail(self, lines: int) -> None:
        """Start at the last ``lines`` lines of what is there now."""
        if self.path.exists():
            self._offset = max(self._offset, tail_offset(self.path, lines))

    def new_lines(self, *, at_end: bool = False) -> Iterator[str]:
        """Lines completed since the last call; ``at_end`` adds an unfinished last one. Bad UTF-8 is replaced."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._offset)
                while block := file.read(BLOCK):
                    self._offset += len(block)
                    *complete, self._partial = (self._partial + block).split(b"\n")
                    yield from (_decode(line) for line in complete)
        if at_end and self._partial:
            yield _decode(self._partial)
            self._partial = b""


def _decode(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", errors="replace")


def tail_offset(path: Path, lines: int) -> int:
    """Where the last ``lines`` lines of a file begin, read from its end so that its size does not matter."""
    with path.open("rb") as file:
        position = size = file.seek(0, 2)
        if lines <= 0:
            return size
        # The newline that ends the last line starts no further one.
        wanted = lines + 1 if _last_byte_is_newline(path, size) else lines
        while position > 0:
            start = max(0, position - BLOCK)
            file.seek(start)
            block = file.read(position - start)
            for index in range(len(block) - 1, -1, -1):
                wanted -= block[index] == 0x0A
                if wanted == 0:
                    return start + index + 1
            position = start
    return 0


def _last_byte_is_newline(path: Path, size: int) -> bool:
    if size == 0:
        return False
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"


def is_progress(line: str) -> bool:
    """Whether a line is meant for `launcher status` rather than for people."""
    return line.startswith(PROGRESS_TAG + " ")


def newest_progress_line(path: Path, *, after: int) -> str | None:
    """The JSON of the last progress line beyond byte ``after``, looking at the end of the file only."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        start = max(after, file.seek(0, 2) - BLOCK)
        file.seek(start)
        *complete, _unfinished = file.read().split(b"\n")
    for line in map(_decode, reversed(complete)):
        if is_progress(line):
            return line.removeprefix(PROGRESS_TAG + " ")
    return None


def last_words(path: Path, *, after: int, count: int) -> tuple[str, ...]:
    """The last ``count`` lines beyond byte ``after`` that are not progress and not blank."""
    if not path.exists():
        return ()
    start = max(after, path.stat().st_size - BLOCK)
    lines = GrowingFile(path, start=start).new_lines(at_end=True)
    return tuple([line for line in lines if line.strip() and not is_progress(line)][-count:])


@dataclass(frozen=True)
class LogView:
    """What a log reader can see of a job at one moment."""

    is_over: bool
    attempt: int
    """The newest attempt of this submission, 0 before the first."""
    rank_logs: dict[int, Path]


class RankLogs:
    """The merged logs of one attempt's ranks; a rank joins when its file appears."""

    def __init__(self, *, rank: int | None, tail: int | None) -> None:
        self._rank = rank
        self._tail = tail
        self._files: dict[int, GrowingFile] = {}

    def new_lines(self, paths: dict[int, Path], *, at_end: bool) -> Iterator[LogLine]:
        """What the ranks wrote since the last call."""
        for rank, path in paths.items():
            if self._rank in (None, rank) and rank not in self._files:
                self._files[rank] = GrowingFile(path)
                if self._tail is not None:
                    self._files[rank].skip_to_tail(self._tail * PROGRESS_SHARE)
        tail, self._tail = self._tail, None  # a rank that joins later is shown from its start
        for rank, file in sorted(self._files.items()):
            shown: Iterable[str] = (line for line in file.new_lines(at_end=at_end) if not is_progress(line))
            for text in shown if tail is None else deque(shown, maxlen=tail):
                yield LogLine(source=f"rank {rank}", text=text)


def read_logs(
    look: Callable[[], LogView], pause: Callable[[], None], *, follow: bool, rank: int | None, tail: int | None
) -> Iterator[LogLine]:
    """Lines of the newest attempt; with ``follow``, on into the next attempts until the job is over.

    The view is taken before the files are read: when it says that the job is over, nothing is written any more.
    """
    view = look()
    logs = RankLogs(rank=rank, tail=tail)
    while True:
        ended = view.is_over or not follow
        yield from logs.new_lines(view.rank_logs, at_end=ended)
        if ended:
            return
        pause()
        newer = look()
        if newer.attempt != view.attempt:
            # The last attempt's ranks are gone, so what they left is complete. A new attempt is shown from its start.
            yield from logs.new_lines(view.rank_logs, at_end=True)
            logs = RankLogs(rank=rank, tail=None)
        view = newer
