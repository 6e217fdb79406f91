"""How the supervisors of a job's nodes agree on when its ranks start, start again, and stop.

Ranks of one start belong to one *generation*. A generation begins once every node has joined it, when the ranks of the
one before are dead everywhere; its ranks meet in a store of their own, so they can never read a dead rank's address.
Node 0 (worker-0) serves a second, longer-lived store through which the supervisors talk:

    generation        the newest generation's number
    joined/<g>/<n>    node n takes part in generation g
    ready/<g>         all have joined; where the ranks of g meet, and the number of their attempt
    over/<g>          somebody wants generation g to end
    end/<g>           why it ended, by the first node that knows a cause of its own
    verdict/<g>       node 0's decision: how the attempt is recorded and whether another follows

A node's place is its pod's index (a static rank), so rank 0 is always on worker-0. A pod that is replaced finds that
its node has joined already, and asks for a new generation. When worker-0 is replaced, the others find a new store.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from trainer.exits import InfrastructureError
from trainer.runtime.signals import SignalInbox, die_with_parent

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Longer than an image pull on a slow node.
JOIN_SECONDS = 1800.0
POLL_SECONDS = 0.2
STORE_TIMEOUT = timedelta(seconds=30)
# How long a node that only lost its peers waits for the node that knows why.
CAUSE_SECONDS = 5.0
# How long a node waits for node 0's verdict before it takes it for lost.
VERDICT_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Which node this is, of how many, and how ranks are shared among them."""

    nodes: int = 1
    node_rank: int = 0
    ranks_per_node: int = 1
    address: str = "127.0.0.1"
    """Host of node 0."""
    port: int = 0
    """Port of the supervisors' store on node 0."""

    @property
    def world_size(self) -> int:
        """Ranks of the whole job."""
        return self.nodes * self.ranks_per_node

    @property
    def first_rank(self) -> int:
        """The lowest rank on this node."""
        return self.node_rank * self.ranks_per_node

    @property
    def is_first(self) -> bool:
        """Whether this is node 0, which writes what only one node may write."""
        return self.node_rank == 0


@dataclass(frozen=True)
class Generation:
    """One start of all ranks on all nodes."""

    number: int
    attempt: int
    address: str
    port: int
    """Where the ranks' own store is served, by rank 0."""
    listener: socket.socket | None
    """The bound socket of that store, on node 0."""


class Rendezvous(Protocol):
    """What a supervisor asks of the others."""

    def join(self, begin_attempt: Callable[[], int], given_up: Callable[[], bool]) -> Generation | None:
        """Wait for all nodes; None when ``given_up`` became true first. ``begin_attempt`` runs on node 0 only."""

    def is_over(self, generation: Generation) -> bool:
        """Whether another node ended the generation; looked at about once a second."""

    def settle(self, generation: Generation, end: dict[str, Any], *, is_consequence: bool) -> dict[str, Any]:
        """Tell how the generation ended here, and hear how it ended on the node that failed first."""

    def decide(self, generation: Generation, verdict: dict[str, Any]) -> None:
        """Node 0: publish what becomes of the attempt."""

    def verdict(self, generation: Generation) -> dict[str, Any] | None:
        """Other nodes: node 0's decision; None when node 0 is lost."""


class OneNode:
    """All ranks on this machine: nobody to wait for."""

    def __init__(self) -> None:
        self._number = 0

    def join(self, begin_attempt: Callable[[], int], given_up: Callable[[], bool]) -> Generation | None:
        """Begin the next generation at once."""
        if given_up():
            return None
        self._number += 1
        listener = bind_store_socket("127.0.0.1")
        return Generation(self._number, begin_attempt(), "127.0.0.1", listener.getsockname()[1], listener)

    def is_over(self, generation: Generation) -> bool:  # noqa: ARG002
        """Only this node could end it."""
        return False

    def settle(self, generation: Generation, end: dict[str, Any], *, is_consequence: bool) -> dict[str, Any]:  # noqa: ARG002
        """What is known here is all there is."""
        return end

    def decide(self, generation: Generation, verdict: dict[str, Any]) -> None:
        """Nobody listens."""

    def verdict(self, generation: Generation) -> dict[str, Any] | None:  # noqa: ARG002
        """Never asked: this is node 0."""
        return None


def bind_store_socket(host: str) -> socket.socket:
    """A listening socket on a free port, bound before the ranks are forked so that nobody else can take the port."""
    listener = socket.socket()
    listener.bind((host, 0))
    listener.listen(128)
    return listener


class ManyNodes:
    """Agrees with the supervisors of the other nodes through the store on node 0."""

    def __init__(self, place: Place, inbox: SignalInbox) -> None:
        self._place = place
        self._inbox = inbox
        self._store: Store | None = None
        self._number = 0  # the last generation this supervisor took part in
        if place.is_first:
            _fork_store_server(place.port, inbox)

    def join(self, begin_attempt: Callable[[], int], given_up: Callable[[], bool]) -> Generation | None:
        """Wait for all nodes, through losses of the store on the way."""
        deadline = time.monotonic() + JOIN_SECONDS
        while not given_up():
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"not all {self._place.nodes} nodes met within {JOIN_SECONDS:.0f} s "
                    f"(node {self._place.node_rank}, store at {self._place.address}:{self._place.port})"
                )
            try:
                generation = self._lead(begin_attempt) if self._place.is_first else self._follow()
            except (RuntimeError, OSError) as error:
                log.info("waiting for the store on node 0: %s", str(error).splitlines()[0])
                self._store, self._number = None, 0
                generation = None
            if generation:
                return generation
            self._inbox.wait(POLL_SECONDS)
        return None

    def _lead(self, begin_attempt: Callable[[], int]) -> Generation | None:
        """Node 0: open the next generation unless one is open, and begin it once all are in."""
        store = self._connected()
        if self._number == 0 or self._is_set(f"over/{self._number}") or self._is_set(f"ready/{self._number}"):
            self._number += 1
            store.set("generation", str(self._number))
            log.info("generation %d: waiting for %d nodes", self._number, self._place.nodes - 1)
        number = self._number
        if not all(self._is_set(f"joined/{number}/{node}") for node in range(1, self._place.nodes)):
            return None
        listener = bind_store_socket("")
        attempt, port = begin_attempt(), listener.getsockname()[1]
        store.set(f"ready/{number}", json.dumps({"attempt": attempt, "port": port}))
        return Generation(number, attempt, self._place.address, port, listener)

    def _follow(self) -> Generation | None:
        """Another node: join the newest generation, and wait until it is ready."""
        store = self._connected()
        if not store.check(["generation"]):
            return None
        newest = int(store.get("generation"))
        if newest != self._number:
            mine = f"{socket.gethostname()}/{os.getpid()}"
            if store.compare_set(f"joined/{newest}/{self._place.node_rank}", "", mine).decode() != mine:
                # This node's predecessor is in it: that generation cannot go on.
                store.set(f"over/{newest}", f"node {self._place.node_rank} was replaced")
                return None
            self._number = newest
        if not store.check([f"ready/{newest}"]) or self._is_set(f"over/{newest}"):
            return None
        ready = json.loads(store.get(f"ready/{newest}"))
        return Generation(newest, ready["attempt"], self._place.address, ready["port"], None)

    def _connected(self) -> "Store":
        from torch._C._distributed_c10d import TCPStore

        if self._store is None:
            self._store = TCPStore(
                self._place.address, self._place.port, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT
            )
        return self._store

    def _is_set(self, key: str) -> bool:
        return bool(self._connected().check([key]))

    def is_over(self, generation: Generation) -> bool:
        """Whether some node asked for a new generation. A lost store is not yet an end: the ranks will tell."""
        try:
            return self._is_set(f"over/{generation.number}")
        except (RuntimeError, OSError):
            self._store = None
            return False

    def settle(self, generation: Generation, end: dict[str, Any], *, is_consequence: bool) -> dict[str, Any]:
        """Publish this node's end unless it only follows from another's; the end that was published first."""
        key = f"end/{generation.number}"
        try:
            if is_consequence:
                self._wait_for(key, CAUSE_SECONDS)
            store = self._connected()
            agreed: dict[str, Any] = json.loads(store.compare_set(key, "", json.dumps(end)))
            store.set(f"over/{generation.number}", "ended")
        except (RuntimeError, OSError):
            return end
        return agreed

    def _wait_for(self, key: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self._is_set(key):
            if time.monotonic() > end:
                return False
            self._inbox.wait(POLL_SECONDS)
        return True

    def decide(self, generation: Generation, verdict: dict[str, Any]) -> None:
        """Let the other nodes know."""
        try:
            self._connected().set(f"verdict/{generation.number}", json.dumps(verdict))
        except (RuntimeError, OSError) as error:
            log.warning("the other nodes could not be told: %s", error)

    def verdict(self, generation: Generation) -> dict[str, Any] | None:
        """Wait for node 0's decision."""
        key = f"verdict/{generation.number}"
        try:
            if self._wait_for(key, VERDICT_SECONDS):
                decision: dict[str, Any] = json.loads(self._connected().get(key))
                return decision
        except (RuntimeError, OSError):
            self._store, self._number = None, 0
        return None


def _fork_store_server(port: int, inbox: SignalInbox) -> None:
    """Serve the supervisors' store from a process of its own: its threads must not be in the one that forks ranks."""
    parent = os.getpid()
    if os.fork():
        return
    try:
        die_with_parent(parent)
        inbox.close_in_child()
        from torch._C._distributed_c10d import TCPStore

        store = TCPStore("0.0.0.0", port, is_master=True, wait_for_workers=False, timeout=STORE_TIMEOUT)  # noqa: S104
        while store:
            time.sleep(3600)
    finally:
        os._exit(1)
