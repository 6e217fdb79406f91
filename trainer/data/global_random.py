"""The global random generators of Python, NumPy and torch, lent to the user's code.

Code that draws from them gets numbers that depend only on what it was seeded by, and nobody else's change.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

_NUMPY_SEEDS = 2**32


@contextmanager
def lent_generators() -> Iterator[Callable[[int], None]]:
    """Give a function that seeds all three (0 to 2**64 - 1); at the end they are as they were.

    Only the generator of the CPU is torch's here, and only one thread at a time may borrow them.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield _seed_all
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % _NUMPY_SEEDS)
    torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which takes ten times as long over devices
