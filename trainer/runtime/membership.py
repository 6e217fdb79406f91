"""Which nodes make up the next generation: a decision on what node 0 has seen of the others."""

from collections.abc import Mapping
from dataclasses import dataclass

# How long a job that could begin waits for one more node after the last one came.
LAST_CALL_SECONDS = 5.0
# A waiting node shows itself at every poll; one that was silent for this long has gone.
SILENT_SECONDS = 3.0


@dataclass(frozen=True)
class Sighting:
    """What node 0 knows of another node that waits for the generation, by node 0's own monotonic clock."""

    count: int
    """How often that node has shown itself."""
    first: float
    last: float
    """When the count was first seen, and when it was last seen to have grown."""

    def updated(self, count: int, now: float) -> "Sighting":
        """The sighting after one more look."""
        return Sighting(count, self.first, now) if count > self.count else self


def choose_members(
    *, min_nodes: int, max_nodes: int, opened: float, sightings: Mapping[int, Sighting], now: float
) -> tuple[int, ...] | None:
    """The nodes that begin now, in ascending order; None while there is something to wait for.

    Node 0 decides, so it is always one of them. All ``max_nodes`` begin at once; fewer, but at least ``min_nodes``,
    after a last call. A job of a fixed size (``min_nodes == max_nodes``) so waits for all.

    Args:
        min_nodes: Nodes that the job needs at least.
        max_nodes: Nodes that it uses at most.
        opened: When the generation was opened.
        sightings: The other nodes that have joined, by index.
        now: The time of the decision, on the clock of ``opened`` and the sightings.
    """
    present = {node: seen for node, seen in sightings.items() if now - seen.last <= SILENT_SECONDS}
    members = (0, *sorted(present))
    if len(members) == max_nodes:
        return members
    last_came = max([opened, *(seen.first for seen in present.values())])
    return members if len(members) >= min_nodes and now - last_came >= LAST_CALL_SECONDS else None
