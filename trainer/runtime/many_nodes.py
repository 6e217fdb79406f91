"""How the supervisors of a job's nodes agree on when its ranks start, start again, and stop.

Node 0 (worker-0) serves a store that outlives generations, through which the supervisors talk:

    generation        the newest generation's number
    joined/<g>/<n>    node n wants to take part in generation g
    waiting/<g>/<n>   a count that node n raises while it waits: so node 0 sees that it is alive
    ready/<g>         g begins: its nodes, where its ranks meet, and the number of their attempt
    grow/<g>          a node that came after that asks for a generation with it, once the ranks of g have saved
    leave/<g>         a node that was asked to leave: the ranks of all nodes save
    done/<g>/<n>      the ranks of node n are done
    over/<g>          generation g has ended or cannot go on
    end/<g>           why it ended, by the first node that knows a cause of its own
    verdict/<g>       node 0's decision: how the attempt is recorded and whether another follows

A node's index is its pod's, and ranks follow the order of indexes, so rank 0 is always on worker-0. A pod that is
replaced finds that its node has joined already, and asks for a new generation. When worker-0 is replaced, the others
find a new store. A job of a fixed size waits for all its nodes; an elastic one goes on with those that are there.
"""

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from trainer.exits import InfrastructureError
from trainer.runtime.membership import Sighting, choose_members
from trainer.runtime.rendezvous import Generation, Place, Request, bind_store_socket
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


class ManyNodes:
    """Agrees with the supervisors of the other nodes through the store on node 0."""

    def __init__(self, place: Place, inbox: SignalInbox, *, is_done: Callable[[], bool]) -> None:
        """``is_done`` says whether the job has succeeded: asked when node 0 is gone."""
        self._place = place
        self._inbox = inbox
        self._is_done = is_done
        self._store: Store | None = None
        # Not host and pid: those of a replaced pod are its predecessor's.
        self._identity = f"{socket.gethostname()}/{uuid.uuid4().hex}"
        self._number = 0  # the last generation that this supervisor opened (node 0) or joined
        self._opened = 0.0  # when node 0 opened it
        self._sightings: dict[int, Sighting] = {}
        if place.is_first:
            _fork_store_server(place.port, inbox)

    def join(self, begin_attempt: Callable[[tuple[int, ...]], int], given_up: Callable[[], bool]) -> Generation | None:
        """Wait for the next generation with this node, through losses of the store on the way."""
        deadline = time.monotonic() + JOIN_SECONDS
        while not given_up():
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"{self._place.min_nodes} nodes did not meet within {JOIN_SECONDS:.0f} s "
                    f"(node {self._place.node}, store at {self._place.address}:{self._place.port})"
                )
            try:
                generation = self._lead(begin_attempt) if self._place.is_first else self._follow()
            except (RuntimeError, OSError) as error:
                log.info("waiting for the store on node 0: %s", str(error).splitlines()[0])
                self._store, self._number = None, 0
                generation = None
                if self._is_done():
                    return None
            if generation:
                return generation
            self._inbox.wait(POLL_SECONDS)
        self._withdraw()
        return None

    def _lead(self, begin_attempt: Callable[[tuple[int, ...]], int]) -> Generation | None:
        """Node 0: open the next generation unless one is open, and begin it once enough nodes are in."""
        if self._number == 0 or self._is_set(f"over/{self._number}") or self._is_set(f"ready/{self._number}"):
            self._open(self._number + 1)
        self._look()
        nodes = choose_members(
            min_nodes=self._place.min_nodes,
            max_nodes=self._place.max_nodes,
            opened=self._opened,
            sightings=self._sightings,
            now=time.monotonic(),
        )
        if nodes is None:
            return None
        listener = bind_store_socket("")
        attempt, port = begin_attempt(nodes), listener.getsockname()[1]
        ready = {"attempt": attempt, "port": port, "nodes": nodes}
        self._connected().set(f"ready/{self._number}", json.dumps(ready))
        return self._generation(ready, listener)

    def _open(self, number: int) -> None:
        self._number, self._opened, self._sightings = number, time.monotonic(), {}
        self._connected().set("generation", str(number))
        fewest, most = self._place.min_nodes - 1, self._place.max_nodes - 1
        log.info("generation %d: waiting for %s nodes", number, most if fewest == most else f"{fewest} to {most}")

    def _look(self) -> None:
        """Node 0: see which of the others are waiting."""
        now = time.monotonic()
        for node in range(1, self._place.max_nodes):
            count = self._connected().add(f"waiting/{self._number}/{node}", 0)
            if node in self._sightings:
                self._sightings[node] = self._sightings[node].updated(count, now)
            elif count > 0:
                self._sightings[node] = Sighting(count, first=now, last=now)

    def _follow(self) -> Generation | None:
        """Another node: join the newest generation, and wait until it begins."""
        store = self._connected()
        if not store.check(["generation"]):
            return None
        newest = int(store.get("generation"))
        if newest != self._number and not self._enter(newest):
            return None
        store.add(f"waiting/{newest}/{self._place.node}", 1)
        ready = self._ready(newest)
        if ready is None or self._is_set(f"over/{newest}"):
            return None
        if self._place.node in ready["nodes"]:
            return self._generation(ready, None)
        self._ask_to_take_part(newest)
        return None

    def _enter(self, number: int) -> bool:
        """Join generation ``number``; False where this node's predecessor is in it, and so it cannot go on."""
        key = f"joined/{number}/{self._place.node}"
        if self._connected().compare_set(key, "", self._identity).decode() != self._identity:
            ready = self._ready(number)
            if ready is None or self._place.node in ready["nodes"]:
                self._connected().set(f"over/{number}", f"node {self._place.node} was replaced")
                return False
            self._connected().set(key, self._identity)  # the predecessor only waited to take part
        log.info("generation %d: node %d waits to take part", number, self._place.node)
        self._number = number
        return True

    def _ask_to_take_part(self, number: int) -> None:
        if self._place.node < self._place.max_nodes and not self._is_set(f"grow/{number}"):
            log.info("generation %d runs without node %d: asking for another", number, self._place.node)
            self._connected().set(f"grow/{number}", f"node {self._place.node} came")

    def _withdraw(self) -> None:
        """This node leaves: a generation that counts on it, and has not begun here, must not wait for it."""
        if self._place.is_first or self._number == 0:
            return
        try:
            ready = self._ready(self._number)
            if ready is None or self._place.node in ready["nodes"]:
                self._connected().set(f"over/{self._number}", f"node {self._place.node} left")
        except (RuntimeError, OSError) as error:
            log.info("node 0 could not be told that this node leaves: %s", str(error).splitlines()[0])

    def _generation(self, ready: dict[str, Any], listener: socket.socket | None) -> Generation:
        return Generation(
            number=self._number,
            attempt=ready["attempt"],
            nodes=tuple(ready["nodes"]),
            ranks_per_node=self._place.ranks_per_node,
            address=self._place.address,
            port=ready["port"],
            listener=listener,
        )

    def _ready(self, number: int) -> dict[str, Any] | None:
        key = f"ready/{number}"
        if not self._is_set(key):
            return None
        ready: dict[str, Any] = json.loads(self._connected().get(key))
        return ready

    def _knows(self, generation: Generation) -> bool:
        """Whether the store is still the one of this generation: that of a replaced node 0 counts from 1 again."""
        ready = self._ready(generation.number)
        return ready is not None and bool(ready["attempt"] == generation.attempt)

    def _connected(self) -> "Store":
        from torch._C._distributed_c10d import TCPStore

        if self._store is None:
            self._store = TCPStore(
                self._place.address, self._place.port, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT
            )
        return self._store

    def _is_set(self, key: str) -> bool:
        return bool(self._connected().check([key]))

    def request(self, generation: Generation) -> Request:
        """Whether some node asked for a new generation. A lost store is not yet an end: the ranks will tell."""
        try:
            if not self._knows(generation) or self._is_set(f"over/{generation.number}"):
                return Request.STOP
            if self._is_set(f"leave/{generation.number}"):
                return Request.LEAVE_TOO
            return Request.LEAVE if self._is_set(f"grow/{generation.number}") else Request.NONE
        except (RuntimeError, OSError):
            self._store = None
            return Request.NONE

    def tell_leave(self, generation: Generation) -> None:
        """Let the ranks of all nodes leave; those of a lost node 0 do not need to hear it."""
        try:
            if self._knows(generation):
                self._connected().set(f"leave/{generation.number}", f"node {self._place.node} was asked to leave")
        except (RuntimeError, OSError):
            self._store = None

    def all_done(self, generation: Generation) -> bool:
        """Tell that the ranks here are done; whether those of all nodes are. False while the store is lost."""
        try:
            if not self._knows(generation):
                return False
            done = f"done/{generation.number}"
            self._connected().set(f"{done}/{self._place.node}", "done")
            return bool(self._connected().check([f"{done}/{node}" for node in generation.nodes]))
        except (RuntimeError, OSError):
            self._store = None
            return False

    def settle(self, generation: Generation, end: dict[str, Any], *, is_consequence: bool) -> dict[str, Any]:
        """Publish this node's end unless it only follows from another's; the end that was published first."""
        key = f"end/{generation.number}"
        try:
            if not self._knows(generation):
                return end
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
            if not self._knows(generation):
                self._number = 0
            elif self._wait_for(key, VERDICT_SECONDS):
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
