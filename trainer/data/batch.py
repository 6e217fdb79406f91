"""What a rank is fed: batches that know how many terms their loss has."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """What one forward pass of one rank works on, on its device."""

    inputs: tuple[Tensor, ...]
    """What the network takes."""
    targets: Tensor
    """What it should have given."""
    units: int
    """How many terms the loss of this batch sums: samples, or tokens of the targets."""


@dataclass(frozen=True, eq=False)
class StepBatches:
    """One rank's share of an optimizer step."""

    parts: list[Batch]
    """Its micro-batches."""
    units: int
    """Terms of the loss of the global batch, over all ranks: what the sum of all losses is divided by."""
