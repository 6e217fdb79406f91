"""The processes of one node, which read a data set together."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.runtime.cpus import available_cpus

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """This process's place on its node."""

    local_rank: int = 0
    """Place among the processes of this node, from 0."""
    local_ranks: int = 1
    """Processes of this node."""
    barrier: Callable[[], None] = lambda: None
    """Returns once every process of this node has called it."""

    def share(self, count: int) -> range:
        """This process's part of ``count`` pieces of work."""
        return range(self.local_rank, count, self.local_ranks)

    @property
    def threads(self) -> int:
        """How many threads this process can keep busy: its part of the CPUs that the node's cgroup may use."""
        return max(1, int(available_cpus() / self.local_ranks))

    def shared_bytes(self, purpose: str, size: int) -> npt.NDArray[np.uint8] | None:
        """Memory that all processes of this node see: ``size`` zero bytes, backed by an unlinked temporary file.

        Every process of the node must call it alike.

        Args:
            purpose: What it is for; two sets of bytes that are made at the same time need different ones.
            size: Bytes.

        Returns:
            The bytes, gone with the last process that holds them; None on all processes where there is no room.
        """
        path = self._temporary_path(purpose)
        if self.local_rank == 0:
            _reserve(path, size)
        self.barrier()
        shared = np.memmap(path, dtype=np.uint8, mode="r+") if path.exists() else None
        self.barrier()
        if self.local_rank == 0:
            path.unlink(missing_ok=True)
        return shared

    def _temporary_path(self, purpose: str) -> Path:
        # The processes of a node have one parent, and nothing else to agree on a name by.
        digest = hashlib.sha256(purpose.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"trainer-{os.getuid()}-{os.getppid()}-{digest}"


def _reserve(path: Path, size: int) -> None:
    """Create ``path`` with its blocks allocated: a sparse file would end in SIGBUS when the disk fills up later."""
    path.unlink(missing_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("no room for %.0f MiB in %s (%s)", size / 2**20, path.parent, error.strerror)
        path.unlink(missing_ok=True)
