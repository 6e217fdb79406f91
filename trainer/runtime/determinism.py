"""Seeds as functions of where in the run we are, so that there is no random state to save."""

import hashlib
import os

import torch


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^63) for e.g. ("step", seed, step, rank); near parts give unrelated seeds."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def use_deterministic_kernels(*, deterministic: bool) -> None:
    """On GPUs choose between reproducible and fastest kernels; CPU kernels used here are reproducible as they are."""
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
