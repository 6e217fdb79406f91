"""How the local backend's own files land in a results folder: whole or not at all."""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``: a reader, or a crash, sees the old file or the new one."""
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; None when there is no such file.

    Raises:
        LauncherError: The file is there and holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LauncherError(f"{path}: cannot be read: {error}\nrepair or remove that file, then try again") from error
    if not isinstance(value, dict):
        raise LauncherError(f"{path}: expected a JSON object\nrepair or remove that file, then try again")
    return value


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold ``lock`` against every other launcher on this folder; the kernel lets go when the holder dies.

    It is a file of its own, not the job's folder: ``--fresh`` moves that folder away, and NFS locks no directories.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
