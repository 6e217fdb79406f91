"""What the supervisor must know of the ranks that it runs, whether they train a configuration or run a script."""

import signal
from pathlib import Path
from typing import Protocol

from trainer.config.train import Restarts
from trainer.runtime.ranks import Rank, RankSettings
from trainer.runtime.rendezvous import Generation
from trainer.runtime.signals import SignalInbox


class Work(Protocol):
    """The ranks' work."""

    @property
    def restarts(self) -> Restarts:
        """How often crashed ranks are tried again."""

    @property
    def leave_signal(self) -> signal.Signals:
        """The signal that asks a rank to save and leave."""

    @property
    def ranks_agree(self) -> bool:
        """Whether ranks decide together when to leave, and end only when all are done and everything is written."""

    @property
    def look_seconds(self) -> float | None:
        """How often ``look`` must be called while ranks run; None for never."""

    def start(self, generation: Generation, ranks: list[RankSettings], inbox: SignalInbox) -> list[Rank]:
        """Start this node's ranks of a generation, and take over its ``listener``."""

    def look(self, generation: Generation) -> None:
        """See to running ranks.

        Raises:
            TrainingError: They must not go on.
        """

    def ended(self) -> None:
        """All ranks of this node have ended."""

    def newest_checkpoint(self) -> str | None:
        """Names the newest checkpoint; None without one. Another name means that something was saved."""

    def finish(self, attempt: int) -> None:
        """Node 0: all ranks of all nodes are done; write what is still missing in the results folder."""


def rank_settings(generation: Generation, *, node: int, logs: Path, echo: bool) -> list[RankSettings]:
    """The settings of a node's ranks of a generation.

    Args:
        generation: The node takes part in it.
        node: Index of the node.
        logs: Folder for their logs.
        echo: Whether what they print also goes to the supervisor's stdout.
    """
    first_rank, count = generation.first_rank(node), generation.ranks_per_node
    return [
        RankSettings(
            rank=first_rank + local_rank,
            local_rank=local_rank,
            world_size=generation.world_size,
            local_world_size=count,
            group_rank=generation.nodes.index(node),
            group_world_size=len(generation.nodes),
            address=generation.address,
            port=generation.port,
            log_file=logs / f"rank-{first_rank + local_rank}.log",
            echo=echo,
        )
        for local_rank in range(count)
    ]
