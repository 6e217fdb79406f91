"""The nodes of one job: a supervisor each on this machine, started and replaced one by one, as pods are."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

from tests.trainer_runs import TrainerProcess, start


class Job:
    """Nodes with one rank each; their store is on loopback."""

    def __init__(self, folder: Path, train: dict[str, Any], *, nnodes: str = "2", begin_with: int = 2) -> None:
        """Start the first ``begin_with`` nodes of a job of ``nnodes`` ("2", or "1:2" for an elastic one)."""
        self.folder = folder
        self.train = train
        self._nnodes = nnodes
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.nodes: dict[int, TrainerProcess] = {}
        self._started: list[TrainerProcess] = []
        for node in range(begin_with):
            self.start(node)

    def start(self, node: int) -> None:
        """Start ``node``, or its replacement."""
        options = ("--nnodes", self._nnodes, "--node-rank", str(node), "--master-port", str(self._port))
        self.nodes[node] = self.start_with(options)
        self._started.append(self.nodes[node])

    def start_with(self, options: tuple[str, ...]) -> TrainerProcess:
        """Start a node with these options of the trainer's command line."""
        return start(self.folder, self.train, ranks=1, node=options)

    def rank_of(self, node: int) -> int:
        """The pid of the node's rank. Node 0's older child serves the supervisors' store."""
        return max(self.nodes[node].ranks())

    def wait_for_step(self, step: int) -> None:
        self.nodes[0].wait_until(lambda: self.nodes[0].steps_done() >= step)

    def wait_for_words(self, words: str) -> None:
        """Wait until a supervisor says ``words``."""
        log = self.folder / "logs" / "supervisor.log"
        self.nodes[0].wait_until(lambda: words in log.read_text())

    def wait(self) -> list[int]:
        """The exit codes of the newest process of each node."""
        return [self.nodes[node].wait(90) for node in sorted(self.nodes)]

    def kill(self) -> None:
        for process in self._started:
            if process.process.poll() is None:
                os.killpg(process.process.pid, signal.SIGKILL)
                process.wait(10)
