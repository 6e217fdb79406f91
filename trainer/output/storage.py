"""How files land on the shared volume: one policy for atomicity and for errors.

A file is either absent, old, or whole: it is written under a temporary name in the same folder, flushed to disk, and
renamed. Every OSError becomes a StorageError that names the path and, on a full disk, the free space.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.exits import StorageError

TEMPORARY_PREFIX = ".tmp-"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError on ``path`` into a StorageError with what a user needs to act on it."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}{_free_space(path)}") from error


def _free_space(path: Path) -> str:
    for folder in (path, *path.parents):
        if folder.exists():
            return f" ({shutil.disk_usage(folder).free / 2**20:.0f} MiB free, uid {os.getuid()})"
    return ""


def make_directory(path: Path) -> Path:
    """Create ``path`` and its parents where they are missing."""
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def sync_directory(path: Path) -> None:
    """Make renames in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it is flushed and renamed to ``path``, on failure removed."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{path.suffix}")
    with storage_errors(path):
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON; a non-finite float is a programming error."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def create_json(path: Path, value: Any) -> bool:
    """Write ``value`` to a file that must not exist yet; False when it does. Whole or absent, even after a crash.

    A hard link, unlike a rename, refuses an existing target: of two writers one wins.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    with storage_errors(path):
        try:
            temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
    return True


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed writer left in ``folder`` (not below it)."""
    with storage_errors(folder):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
