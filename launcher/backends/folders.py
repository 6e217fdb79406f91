"""Copying a results folder: files land whole, under names that were checked, and follow no link on the way."""

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from launcher.errors import LauncherError

MAX_FILES = 100_000
BLOCK = 1 << 20


def cache_folder() -> Path:
    """Where this program may keep copies that can be made again."""
    default = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "pytorchjob-launcher"


class FolderSink:
    """Writes files below a folder: each appears whole, replaces an older one, and follows no link on the way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: list[str] = []
        self.size = 0
        self._final = root
        self._temporary: Path | None = None
        self._file: BinaryIO | None = None

    def expect(self, files: int, size: int) -> None:
        """Refuse what cannot fit."""
        if files > MAX_FILES:
            raise LauncherError(f"the results hold {files} files, more than {MAX_FILES}: mount the claim to copy them")
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if size - self.size > free:
            raise LauncherError(f"{self.root}: {_mib(size)} MiB to copy, {_mib(free)} MiB free")

    def open(self, path: str, size: int, offset: int) -> None:  # noqa: ARG002
        """Begin a file, or go on with it."""
        self._close_file()
        self._final = safe_join(self.root, path)
        self._final.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._final.with_name(f".part-{self._final.name}")
        if offset == 0:
            temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(temporary, flags, 0o644), "wb")
        self._file.seek(offset)
        self._temporary = temporary

    def write(self, block: bytes) -> None:
        """Add to it."""
        if self._file is None:
            raise ValueError("bytes of no file")
        self._file.write(block)

    def close(self, sha256: str) -> None:
        """Check it and let it appear under its name."""
        self._close_file()
        if self._temporary is None:
            raise ValueError("the end of no file")
        with self._temporary.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        check_sum(str(self._final), found, sha256)
        self.size += self._temporary.stat().st_size
        self._temporary.replace(self._final)
        self.written.append(str(self._final.relative_to(self.root)))
        self._temporary = None

    def drop(self) -> None:
        """Leave it out."""
        self._close_file()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def copy_folder(source: Path, target: Path) -> FolderSink:
    """Copy the regular files below ``source``; unfinished ones and links are left out."""
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    files = [path for path in files if not any(part.startswith(".tmp-") for part in path.relative_to(source).parts)]
    sink = FolderSink(target)
    sink.expect(len(files), sum(path.stat().st_size for path in files))
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            sink.open(path.relative_to(source).as_posix(), os.fstat(file.fileno()).st_size, 0)
            while block := file.read(BLOCK):
                digest.update(block)
                sink.write(block)
        sink.close(digest.hexdigest())
    return sink


def safe_join(root: Path, path: str) -> Path:
    """``path`` below ``root``, where no folder on the way is a link that leads out of it."""
    target = root / member(path)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise LauncherError(f"{target.parent}: is a link to somewhere else; remove it, or choose another folder")
    return target


def member(path: Any) -> str:
    """A relative path inside the folder, normal and plain.

    Raises:
        LauncherError: It leads elsewhere, or would steer a terminal.
    """
    if not isinstance(path, str) or not path or not path.isprintable() or "\\" in path:
        raise LauncherError(f"the results hold a file with a name that is refused: {str(path)[:80]!r}")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or str(pure) != path:
        raise LauncherError(f"the results hold a path that leads elsewhere: {path[:80]!r}")
    return path


def check_sum(path: str, found: str, expected: str) -> None:
    """Compare two checksums of a file.

    Raises:
        LauncherError: They differ.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", expected) or found != expected:
        raise LauncherError(f"{path}: arrived damaged (its checksum differs); run the command again")


def _mib(size: int) -> int:
    return -(-size >> 20)
