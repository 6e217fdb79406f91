"""A trained network that answers for new inputs."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Prediction:
    """What the network says of one input."""

    sample: str
    """The input, as the user named it."""
    predicted: str | None
    """The most probable class or output; None where the input could not be used."""
    probability: float | None
    """Its probability, 0 to 1."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """The next most probable ones with their probabilities, in order."""
    error: str | None = None
    """Why the input could not be used."""


class Predictor(Protocol):
    """Answers for inputs that the user names."""

    def __call__(self, inputs: list[str], *, top: int) -> list[Prediction]:
        """A prediction an input, in order, with up to ``top`` answers each."""
        ...
