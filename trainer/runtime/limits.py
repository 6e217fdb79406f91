"""When a run is given up: restarts without progress, and the deadline; and when this process started."""

import os
import time
from pathlib import Path

from trainer.config.train import Restarts

MAX_BACKOFF_SECONDS = 60.0


class Bound:
    """Counts restarts in a row without a new checkpoint."""

    def __init__(self, restarts: Restarts) -> None:
        self._restarts = restarts
        self.used = 0

    def resume(self, lost: int) -> bool:
        """Take over the count of a predecessor; whether the start that follows is still allowed."""
        self.used = lost
        return lost <= self._restarts.max_without_progress

    def allow(self, *, progressed: bool) -> bool:
        """Whether one more restart is allowed after an attempt that did or did not save something new."""
        if progressed:
            self.used = 0
        if self.used >= self._restarts.max_without_progress:
            return False
        self.used += 1
        return True

    def backoff(self) -> float:
        """Seconds to wait before the restart that was just allowed."""
        return min(self._restarts.backoff_seconds * 2.0 ** max(0, self.used - 1), MAX_BACKOFF_SECONDS)


class Deadline:
    """The moment after which the run is given up."""

    def __init__(self, restarts: Restarts) -> None:
        seconds = restarts.deadline_seconds
        self.moment = None if seconds is None else time.monotonic() + seconds

    def passed(self) -> bool:
        """Whether it is over."""
        return self.moment is not None and time.monotonic() >= self.moment


def process_start_time() -> float:
    """When this process started, seconds since the epoch, as psutil computes it; tells a reused pid from its owner."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line[:5] == "btime")
    except OSError:
        return time.time()
    return boot + ticks / os.sysconf("SC_CLK_TCK")
