"""What the user's code gave, in words."""

from collections.abc import Sequence

from torch import Tensor


def kind_of(value: object) -> str:
    """``float32 [2, 10]`` for a tensor, ``a tuple of 2``, or ``a value of type dict``."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"
