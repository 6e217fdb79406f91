"""Opening a page in the user's browser."""

import os
import subprocess
import sys
from pathlib import Path

# A browser that takes over the program's own process is left alone after this long.
_SECONDS = 10.0
_OPEN = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"


def open_page(path: Path) -> bool:
    """Show the file in a browser; False where there is none.

    A process of its own does it: what a browser prints must not get into our output, nor may it keep that open.
    """
    if not _has_display():
        return False
    process = subprocess.Popen(
        [sys.executable, "-c", _OPEN, path.absolute().as_uri()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True


def _has_display() -> bool:
    """Whether a window can appear. Without one, Python would start a browser for terminals, which shows no figures."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
