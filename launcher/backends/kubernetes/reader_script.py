"""Runs in the reader pod: prints files of the mounted claim as lines that survive a container's log.

The launcher sends this file's text to ``python -c``, so it stands alone and imports the standard library only.

    0 @begin {"files": 2, "bytes": 1200}
    1 @list [["run.json", 800], ["logs/supervisor.log", 400]]
    2 @file {"path": "run.json", "size": 800, "offset": 0}
    3 @data OFFSET CRC32 BASE64
    4 @done SHA256
    5 @moved "digits.old-1"
    6 @end
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import sys
import time
import zlib

CHUNK = 9000  # in base64 still shorter than the 16 KiB at which container runtimes split a line
BATCH = 100
# A node keeps few megabytes of a container's log; whoever reads it must not fall behind its rotation.
BYTES_PER_SECOND = 8 << 20


def walk(root: str) -> list[tuple[str, int]]:
    """Regular files below ``root`` with their sizes, sorted; links and unfinished files are left out."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".tmp-")]
        for name in names:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode) and not name.startswith(".tmp-"):
                found.append((os.path.relpath(path, root), info.st_size))
    return sorted(found)


def say(tag: str, *parts: str) -> None:
    """One line, numbered: a log may lose lines."""
    global said
    sys.stdout.write(" ".join([str(said), tag, *parts]) + "\n")
    said += 1


def send(root: str, path: str, offset: int) -> None:
    """One file from ``offset`` on, as large as it was when it was opened: it may still be growing."""
    digest = hashlib.sha256()
    with open(os.path.join(root, path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        say("@file", json.dumps({"path": path, "size": size, "offset": min(offset, size)}))
        at = 0
        while at < size:
            block = file.read(min(CHUNK, size - at, offset - at if at < offset else CHUNK))
            if not block:
                say("@changed")  # it became shorter
                return
            digest.update(block)
            if at >= offset:
                say("@data", str(at), f"{zlib.crc32(block):08x}", base64.b64encode(block).decode())
                pace(len(block))
            at += len(block)
    say("@done", digest.hexdigest())


def aside(root: str) -> str:
    """Rename the folder, so that a job of the same name starts anew."""
    number = 1
    while os.path.lexists(f"{root}.old-{number}"):
        number += 1
    os.rename(root, f"{root}.old-{number}")
    return f"{root}.old-{number}"


said, sent, began = 0, 0, time.monotonic()


def pace(count: int) -> None:
    """Do not write faster than a reader can follow."""
    global sent
    sent += count
    ahead = sent / BYTES_PER_SECOND - (time.monotonic() - began)
    if ahead > 0.05:
        sys.stdout.flush()
        time.sleep(ahead)


def main(mode: str, root: str, first: str = "", offset: str = "0", only: str = "") -> None:
    """``list`` and the summary, ``fetch`` of everything or of the file ``only``, or ``aside``: rename the folder.

    The first two may go on where an earlier pod was cut off: in the file ``first`` at ``offset``, or after it with -1.
    """
    if not os.path.isdir(root):
        say("@missing")
        return
    if mode == "aside":
        say("@moved", json.dumps(os.path.basename(aside(root))))
        say("@end")
        return
    files = [file for file in walk(root) if only in ("", file[0])]
    say("@begin", json.dumps({"files": len(files), "bytes": sum(size for _, size in files)}))
    if mode == "list":
        for start in range(0, len(files), BATCH):
            say("@list", json.dumps(files[start : start + BATCH]))
    for path, _ in files:
        if path < first or (path == first and int(offset) < 0) or (mode == "list" and path != "summary.json"):
            continue
        try:
            send(root, path, int(offset) if path == first else 0)
        except FileNotFoundError:
            continue  # an old checkpoint that was removed meanwhile
    say("@end")


if __name__ == "__main__":
    main(*sys.argv[1:])
