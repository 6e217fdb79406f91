"""Reading what the reader pod prints (``reader_script.py``): nothing in it is believed before it is checked."""

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Iterable
from typing import Any, Protocol

from launcher.backends.folders import check_sum, member
from launcher.errors import LauncherError

_LINE = re.compile(rb"(\d+) (@[a-z]+)(?: (.*))?")
SHA256_DIGITS = 64


class Interrupted(Exception):
    """The stream ended, or skipped something, before its end."""


class Sink(Protocol):
    """Where files go."""

    def expect(self, files: int, size: int) -> None:
        """What is announced."""

    def open(self, path: str, size: int, offset: int) -> None:
        """A file begins, or goes on at ``offset``."""

    def write(self, block: bytes) -> None:
        """The next bytes of it."""

    def close(self, sha256: str) -> None:
        """It is complete."""

    def drop(self) -> None:
        """It changed while it was sent."""


class Frames:
    """Takes lines and feeds a sink; knows at any time where to go on after an interruption."""

    def __init__(self, sink: Sink) -> None:
        self.files: list[tuple[str, int]] = []
        self.is_missing = False
        self.moved_to: str | None = None
        self.path = ""
        """The file that was under way last."""
        self.offset = 0
        """How much of it has arrived; -1 when all of it has."""
        self.progress = 0
        """Grows with everything that arrives."""
        self._size: int | None = None
        self._sink = sink

    def read(self, lines: Iterable[bytes]) -> None:
        """Take everything up to the end.

        Raises:
            Interrupted: There was no end, or a gap before it.
        """
        self._size, number = None, 0
        for line in lines:
            match = _LINE.fullmatch(line.rstrip(b"\r"))
            if match is None:
                continue  # something that the image itself writes
            if int(match[1]) != number:
                raise Interrupted("a line was lost")
            number += 1
            try:
                if self._take(match[2], match[3] or b""):
                    return
            except (ValueError, KeyError, TypeError, binascii.Error):
                raise Interrupted("a line was damaged") from None
        raise Interrupted("it ended early")

    def _take(self, tag: bytes, rest: bytes) -> bool:
        """One line; whether it was the last."""
        if tag == b"@begin":
            begin = json.loads(rest)
            self._sink.expect(int(begin["files"]), int(begin["bytes"]))
        elif tag == b"@list":
            self.files += [(member(path), int(size)) for path, size in json.loads(rest)]
        elif tag == b"@file":
            self._open(json.loads(rest))
        elif tag == b"@data":
            self._data(rest)
        elif tag == b"@done":
            self._done(rest.decode("ascii"))
        elif tag == b"@changed":
            self._sink.drop()
            self._size, self.offset = None, -1
        elif tag == b"@moved":
            self.moved_to = member(json.loads(rest))
        self.is_missing = self.is_missing or tag == b"@missing"
        return tag in (b"@end", b"@missing")

    def _open(self, head: dict[str, Any]) -> None:
        path, size, offset = member(head["path"]), int(head["size"]), int(head["offset"])
        if offset not in (0, self.offset if path == self.path else 0) or offset > size:
            raise Interrupted("it went on at another place")
        self.path, self.offset, self._size = path, offset, size
        self._sink.open(path, size, offset)

    def _data(self, rest: bytes) -> None:
        offset, crc, text = rest.split(b" ")
        block = base64.b64decode(text, validate=True)
        if self._size is None or int(offset) != self.offset or zlib.crc32(block) != int(crc, 16):
            raise Interrupted("a piece was lost")
        if self.offset + len(block) > self._size:
            raise Interrupted("a file is longer than announced")
        self._sink.write(block)
        self.offset += len(block)
        self.progress += len(block)

    def _done(self, sha256: str) -> None:
        if self.offset != self._size or len(sha256) != SHA256_DIGITS:
            raise Interrupted("a piece was lost")
        self._sink.close(sha256)
        self._size, self.offset = None, -1
        self.progress += 1


class MemorySink:
    """Keeps the files of a listing, which are small."""

    LIMIT = 8 << 20

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self._path = ""

    def expect(self, files: int, size: int) -> None:
        """Nothing to prepare."""

    def open(self, path: str, size: int, offset: int) -> None:
        """Begin a file."""
        if size > self.LIMIT:
            raise LauncherError(f"{path}: larger than {self.LIMIT >> 20} MiB")
        self._path = path
        self.contents[path] = self.contents.get(path, b"")[:offset]

    def write(self, block: bytes) -> None:
        """Add to it."""
        self.contents[self._path] += block

    def close(self, sha256: str) -> None:
        """Check it."""
        check_sum(self._path, hashlib.sha256(self.contents[self._path]).hexdigest(), sha256)

    def drop(self) -> None:
        """Forget it."""
        self.contents.pop(self._path, None)
