"""How many CUDA devices a process started here would see, found without torch."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

QUERY_SECONDS = 20


def cuda_devices(environment: Mapping[str, str] = os.environ) -> int:
    """The CUDA devices that the driver lists and ``CUDA_VISIBLE_DEVICES`` leaves visible; 0 without a driver."""
    listing = _driver_listing()
    present = len(re.findall(r"^GPU \d+:", listing, flags=re.MULTILINE))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else _count_visible(visible, present, listing)


def first_devices(count: int, environment: Mapping[str, str] = os.environ) -> str:
    """The value of ``CUDA_VISIBLE_DEVICES`` that leaves the first ``count`` of those visible now."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if visible is None else (part.strip() for part in visible.split(","))
    return ",".join(list(names)[:count])


def _count_visible(visible: str, present: int, listing: str) -> int:
    """As CUDA reads the variable: numbers or UUIDs (or their beginnings), and the first unknown one ends the list."""
    count = 0
    for entry in (part.strip() for part in visible.split(",")):
        known = int(entry) < present if entry.isdigit() else bool(entry) and f"UUID: {entry}" in listing
        if not known:
            break
        count += 1
    return count


def _driver_listing() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=QUERY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""
