"""What a supervisor asks of the supervisors of the job's other nodes, and the answers where there are none.

Ranks of one start belong to one *generation*. A generation begins when the ranks of the one before are dead everywhere;
its ranks meet in a store of their own, so they can never read a dead rank's address. What is fixed about a node is its
Place; which nodes take part, and so how many ranks there are and which of them are here, is decided by each generation.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol


@dataclass(frozen=True)
class Place:
    """What is fixed about this node and its job."""

    node: int = 0
    """The index of this node: its pod's."""
    ranks_per_node: int = 1
    min_nodes: int = 1
    """Nodes that the job needs at least."""
    max_nodes: int = 1
    """Nodes that it uses at most; more than ``min_nodes`` in an elastic job."""
    address: str = "127.0.0.1"
    """Host of node 0."""
    port: int = 0
    """Port of the supervisors' store on node 0."""

    @property
    def is_first(self) -> bool:
        """Whether this is node 0, which writes what only one node may write."""
        return self.node == 0


@dataclass(frozen=True)
class Generation:
    """One start of all ranks on the nodes that take part."""

    number: int
    attempt: int
    nodes: tuple[int, ...]
    """The indexes of the nodes that take part, ascending; there may be gaps. Their order is that of the ranks."""
    ranks_per_node: int
    address: str
    port: int
    """Where the ranks' own store is served, by rank 0."""
    listener: socket.socket | None
    """The bound socket of that store, on node 0; nobody listens on it yet."""

    @property
    def world_size(self) -> int:
        """Ranks of the generation."""
        return len(self.nodes) * self.ranks_per_node

    def first_rank(self, node: int) -> int:
        """The lowest rank on ``node``."""
        return self.nodes.index(node) * self.ranks_per_node


class Request(Enum):
    """What other nodes want of the ranks of a generation."""

    NONE = auto()
    LEAVE = auto()
    """Finish the step, save and leave: another node waits to take part."""
    LEAVE_TOO = auto()
    """The same, since another node was asked to leave."""
    STOP = auto()
    """Stop now: the generation is over, or cannot go on."""


class Rendezvous(Protocol):
    """What a supervisor asks of the others."""

    def join(self, begin_attempt: Callable[[tuple[int, ...]], int], given_up: Callable[[], bool]) -> Generation | None:
        """Wait for the next generation that this node takes part in.

        None when ``given_up`` became true first, or the job was done without this node. ``begin_attempt`` runs on
        node 0 only, with the nodes that take part, and gives the number of the attempt.
        """

    def request(self, generation: Generation) -> Request:
        """What another node wants; looked at about once a second."""

    def tell_leave(self, generation: Generation) -> None:
        """Let the ranks of all nodes leave, since this one was asked to."""

    def all_done(self, generation: Generation) -> bool:
        """Tell that the ranks here are done; whether those of all nodes are."""

    def settle(self, generation: Generation, end: dict[str, Any], *, is_consequence: bool) -> dict[str, Any]:
        """Tell how the generation ended here, and hear how it ended on the node that failed first."""

    def decide(self, generation: Generation, verdict: dict[str, Any]) -> None:
        """Node 0: publish what becomes of the attempt."""

    def verdict(self, generation: Generation) -> dict[str, Any] | None:
        """Other nodes: node 0's decision; None when node 0 is lost."""


class OneNode:
    """All ranks on this machine: nobody to wait for."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._number = 0

    def join(self, begin_attempt: Callable[[tuple[int, ...]], int], given_up: Callable[[], bool]) -> Generation | None:
        """Begin the next generation at once."""
        if given_up():
            return None
        self._number += 1
        listener = bind_store_socket("127.0.0.1")
        nodes = (self._place.node,)
        return Generation(
            self._number,
            begin_attempt(nodes),
            nodes,
            self._place.ranks_per_node,
            "127.0.0.1",
            listener.getsockname()[1],
            listener,
        )

    def request(self, generation: Generation) -> Request:  # noqa: ARG002
        """There is nobody else."""
        return Request.NONE

    def tell_leave(self, generation: Generation) -> None:
        """Nobody listens."""

    def all_done(self, generation: Generation) -> bool:  # noqa: ARG002
        """There are no others."""
        return True

    def settle(self, generation: Generation, end: dict[str, Any], *, is_consequence: bool) -> dict[str, Any]:  # noqa: ARG002
        """What is known here is all there is."""
        return end

    def decide(self, generation: Generation, verdict: dict[str, Any]) -> None:
        """Nobody listens."""

    def verdict(self, generation: Generation) -> dict[str, Any] | None:  # noqa: ARG002
        """Never asked: this is node 0."""
        return None


def bind_store_socket(host: str) -> socket.socket:
    """A socket on a free port, bound before the ranks are started so that nobody else is given the port.

    A rank that serves its store on the port by itself can still bind it, as both allow the address to be reused.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, 0))
    return listener
