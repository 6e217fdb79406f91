"""How many CPUs this process may use. Imports nothing heavy: the answer is needed before numpy and torch load."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus() -> float:
    """CPUs this process may use: those it may be scheduled on, and no more than its cgroup's quota."""
    schedulable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(schedulable, _quota(_CGROUP) or schedulable)


def _quota(cgroup: Path) -> float | None:
    """The container's limit in CPUs; None without one."""
    try:
        quota, period = _quota_and_period(cgroup)
        return int(quota) / int(period) if int(quota) > 0 else None  # -1: no limit in version 1
    except (OSError, ValueError):  # no cgroup here, or "max": no limit in version 2
        return None


def _quota_and_period(cgroup: Path) -> tuple[str, str]:
    if (version_2 := cgroup / "cpu.max").exists():
        quota, period = version_2.read_text().split()
        return quota, period
    version_1 = cgroup / "cpu"
    return (version_1 / "cpu.cfs_quota_us").read_text(), (version_1 / "cpu.cfs_period_us").read_text()
