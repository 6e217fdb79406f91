"""How an attempt ended, as it is recorded, told to other nodes, and written to the termination message."""

from dataclasses import asdict, dataclass
from typing import Any

from trainer.exits import Exit, is_final, meaning
from trainer.runtime.memory import MemoryUse
from trainer.runtime.ranks import Rank

KILLED = 137
"""128 + SIGKILL: by the kernel for memory, or by somebody."""


@dataclass(frozen=True)
class End:
    """Why an attempt ended, as it is recorded and told to other nodes."""

    code: int
    cause: str
    rank: int | None = None
    exception: str | None = None
    lines: tuple[str, ...] = ()
    out_of_memory: bool = False
    """Whether the kernel killed a rank at the container's memory limit."""

    @classmethod
    def of_rank(cls, rank: Rank, *, memory: MemoryUse) -> "End":
        """The end of a failed rank, in its own words where it had any.

        Args:
            rank: It has ended.
            memory: The container's memory when the rank was started.
        """
        code = rank.exit_code or Exit.USER_EXCEPTION
        words, now = rank.error, MemoryUse.now()
        if code == KILLED and now.kills > memory.kills:
            return cls(code, f"killed by the kernel at {now.describe()}", rank.rank, out_of_memory=True)
        return cls(
            code,
            words.get("message") or meaning(code),
            rank.rank,
            words.get("exception"),
            tuple(words.get("lines", ())),
        )

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "End":
        """What ``to_json`` gave."""
        return cls(**{**value, "lines": tuple(value["lines"])})

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @property
    def may_go_on(self) -> bool:
        """Whether another attempt may help."""
        return not is_final(self.code)
