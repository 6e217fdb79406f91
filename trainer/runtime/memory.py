"""The memory limit of the container, and how often the kernel killed a process for it.

Read from the control group that a container sees as its root, in both versions of the interface (Linux kernel
documentation, admin-guide/cgroup-v2 and cgroup-v1/memory).
"""

from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
# What cgroup v1 shows where there is no limit is just below 2**63.
_NO_LIMIT = 1 << 60
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class MemoryUse:
    """The control group's memory at one moment."""

    kills: int = 0
    """Processes that the kernel has killed for it so far."""
    limit: int | None = None
    """Bytes; None without a limit."""
    peak: int | None = None
    """Most bytes ever used; None where the kernel does not say."""

    @classmethod
    def now(cls, root: Path = _ROOT) -> "MemoryUse":
        """Read it; all unknown where there is no such control group, as on macOS."""
        v1 = root / "memory"
        if v1.is_dir():
            events, limit, peak = v1 / "memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
            return cls(_count(events), _number(v1 / limit), _number(v1 / peak))
        return cls(_count(root / "memory.events"), _number(root / "memory.max"), _number(root / "memory.peak"))

    def describe(self) -> str:
        """The limit and the peak, for people."""
        peak = f" (peak {in_units(self.peak)})" if self.peak else ""
        return f"the memory limit of {in_units(self.limit)}{peak}" if self.limit else f"the machine's memory{peak}"


def in_units(size: int | None) -> str:
    """Bytes as people write them: 1.5 GiB."""
    amount = float(size or 0)
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    raise AssertionError


def _count(file: Path) -> int:
    """The value of ``oom_kill`` in a file of "name value" lines."""
    try:
        fields = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("oom_kill", 0))


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and int(text) < _NO_LIMIT else None
