"""How a script of the user's own ended, from its exit code and from what it left.

An exception is read from the file of ``torch.distributed.elastic``'s ``@record`` where the script uses that, and
otherwise from the traceback at the end of the rank's log.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from trainer.exits import FIRST_RETRYABLE, Exit, meaning
from trainer.runtime.lost_peer import LOST_PEER_TYPES, says_peer_lost
from trainer.runtime.ranks import MAX_MESSAGE, MAX_TRACEBACK_LINES, Words

# How much of a log's end is looked at (bytes).
_TAIL = 1 << 16
_MAX_LINE = 200
# torch's own tag, on tracebacks that are printed once the process group is there.
_TAG = re.compile(r"\[rank\d+\]: ?")
_FRAME = re.compile(r'  File ".*", line \d+')
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*)(?:: (.*))?")


def explain(code: int, *, log_file: Path, error_file: Path) -> tuple[int, Words]:
    """The code that the end stands for in the contract, and exception, message and last lines as far as they are known.

    Python ends with 1 after any uncaught exception. One that tells of a lost peer stands for 138, one that tells of a
    full GPU for 6. All other codes stand for themselves.

    Args:
        code: Exit code; 128 + n for a death by signal n.
        log_file: What the rank printed.
        error_file: What ``@record`` wrote, if it did.
    """
    if code == Exit.DONE:
        return code, {}
    lines = _last_lines(log_file)
    words = (_recorded(error_file) or _uncaught(lines)) if code == Exit.USER_EXCEPTION else None
    if words is None:
        return code, _without_exception(code, lines)
    return _code_of(words["exception"], words["message"]), words


def _code_of(exception: str, message: str) -> Exit:
    if exception in LOST_PEER_TYPES or (exception == "RuntimeError" and says_peer_lost(message)):
        return Exit.INFRASTRUCTURE
    return Exit.DEVICE_MEMORY if exception == "OutOfMemoryError" else Exit.USER_EXCEPTION


def _without_exception(code: int, lines: Sequence[str]) -> Words:
    known = {"lines": _shortened(lines)}
    if code >= FIRST_RETRYABLE:
        return known
    what = "exit code 1" if code == Exit.USER_EXCEPTION else meaning(code)
    return {**known, "message": f"the script ended: {what}"}


def _recorded(error_file: Path) -> Words | None:
    """What ``@record`` wrote: {"message": {"message": "ValueError: ...", "extraInfo": {"py_callstack": ...}}}."""
    try:
        content = json.loads(error_file.read_text(errors="replace"))["message"]
        exception, _, message = content["message"].partition(": ")
        trace = content["extraInfo"]["py_callstack"].splitlines()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return _words(exception, message, trace)


def _uncaught(lines: Sequence[str]) -> Words | None:
    """The last traceback, from its first line to the one that names the exception. A syntax error has no head."""
    frame = next((index for index in reversed(range(len(lines))) if _FRAME.match(lines[index])), None)
    if frame is None:
        return None
    start = frame
    while start > 0 and lines[start - 1].startswith(" "):
        start -= 1
    head = start - 1 if start > 0 and "Traceback (most recent call last)" in lines[start - 1] else start
    end = next((index for index in range(frame, len(lines)) if not lines[index].startswith(" ")), None)
    named = None if end is None else _EXCEPTION.fullmatch(lines[end])
    if end is None or named is None:
        return None
    return _words(named[1], named[2] or "", lines[head : end + 1])


def _words(exception: str, message: str, trace: Sequence[str]) -> Words:
    return {
        "exception": exception.rpartition(".")[2],
        "message": message[:MAX_MESSAGE] or exception,
        "lines": _shortened(trace),
    }


def _shortened(lines: Sequence[str]) -> list[str]:
    return [line[:_MAX_LINE] for line in lines[-MAX_TRACEBACK_LINES:]]


def _last_lines(log_file: Path) -> list[str]:
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    # Split at line ends only: an exception's message may hold other separators.
    lines = (_TAG.sub("", line.removesuffix("\r").rpartition("\r")[2], count=1) for line in text.split("\n"))
    return [line for line in lines if line.strip()]
