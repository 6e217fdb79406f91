"""What torchrun says of a failed script: which rank failed first, and with which exception.

The chart lets torchrun tag each line of a rank with ``[rank N]``, as the trainer does. Its own report comes last::

    Root Cause (first observed failure):
    [0]:
      rank      : 3 (local_rank: 3)
      exitcode  : 1 (pid: 55)
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from launcher.backends.kubernetes.pods import End
from trainer.exits import from_wait_status, meaning

_ROOT_CAUSE = "Root Cause (first observed failure):"
_FIELD = re.compile(r"\s+(rank|exitcode)\s*: (-?\d+)")
_TAG = re.compile(r"\[rank (\d+)\] ?")
# torch's own tag, on tracebacks that are printed once the process group is there.
_TORCH_TAG = re.compile(r"\[rank\d+\]: ?")
_TRACEBACK = "Traceback (most recent call last):"
_MOST_LINES = 15
# How the survivors of a lost rank end, with gloo and with NCCL.
_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "DistNetworkError", "DistBackendError", "NCCL")


def explain(end: End, log: Sequence[str]) -> End:
    """The end of a script under torchrun, with rank, exception and traceback as far as the pod's log tells them."""
    report = _root_cause([*end.lines, *log])
    rank = report.get("rank")
    if rank is None:
        return end
    traceback = _last_traceback(log, rank)
    code = from_wait_status(report.get("exitcode", 1))
    exception = traceback[-1] if traceback else None
    return replace(
        end,
        rank=rank,
        exception=exception.partition(":")[0] if exception else None,
        lost_peer=any(words in (exception or "") for words in _LOST_PEER),
        cause=exception or f"the script ended: {meaning(code)}",
        lines=tuple(traceback[-_MOST_LINES:]) or end.lines,
    )


def _root_cause(lines: Sequence[str]) -> dict[str, int]:
    """Rank and exit code of the last report."""
    start = next((index for index in reversed(range(len(lines))) if lines[index].strip() == _ROOT_CAUSE), len(lines))
    found: dict[str, int] = {}
    for line in lines[start:]:
        if match := _FIELD.match(line):
            found.setdefault(match[1], int(match[2]))
    return found


def _last_traceback(log: Sequence[str], rank: int) -> list[str]:
    """From the rank's last "Traceback" to the line that names the exception."""
    tags = ((_TAG.match(line), line) for line in log)
    lines = [_TORCH_TAG.sub("", line[tag.end() :], count=1) for tag, line in tags if tag and int(tag[1]) == rank]
    start = next((index for index in reversed(range(len(lines))) if lines[index].startswith(_TRACEBACK)), None)
    if start is None:
        return []
    end = next((index for index in range(start + 1, len(lines)) if not lines[index].startswith(" ")), len(lines) - 1)
    return lines[start : end + 1]
