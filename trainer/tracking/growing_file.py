"""A file of JSON lines that somebody else writes."""

import json
import os
from pathlib import Path
from typing import Any


class GrowingFile:
    """The lines of a file that is appended to and now and then cut, as metrics.jsonl is on resume.

    Lines that are written again after a cut may be returned again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def new_lines(self) -> list[dict[str, Any]]:
        """What was appended since the last call, whole lines only; [] where there is no file yet.

        Raises:
            ValueError: A line is not JSON.
        """
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._read:
                    self._read = 0
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            self._read = 0
            return []
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            if self._read == 0:
                raise
            self._read = 0  # cut and already longer again, so that this began inside a line
            return self.new_lines()
        self._read += len(whole)
        return lines
