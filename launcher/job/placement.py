"""Planning: how many pods of how many ranks. Pure arithmetic on stated node shapes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """``nodes`` equal pods of ``ranks_per_node`` processes each."""

    nodes: int
    ranks_per_node: int

    @property
    def ranks(self) -> int:
        """Processes over the whole job."""
        return self.nodes * self.ranks_per_node
