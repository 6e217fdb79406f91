"""What torch.compile needs of a machine, looked at before anything slow begins."""

import os
import shutil
import sysconfig
from pathlib import Path

import torch

from trainer.exits import ConfigError

_ADVICE = (
    "install them (Debian, Ubuntu: apt-get install g++ python3-dev; for containers in an image derived from this one), "
    "or set compile: false"
)


def prepare_compiler(device: torch.device, *, deterministic: bool) -> None:
    """Set torch.compile up for this process, and see that what it generates for ``device`` can be built here.

    Dropout draws what it draws without compilation. As many processes compile at a time as this rank may use cores.

    Raises:
        ConfigError: A compiler or Python's headers are missing.
    """
    missing = [*_missing_compiler(device), *_missing_headers()]
    if missing:
        raise ConfigError(f"train.compile: needs {' and '.join(missing)}, and there is none on this machine\n{_ADVICE}")
    import torch._inductor.config as inductor

    inductor.fallback_random = True
    inductor.compile_threads = torch.get_num_threads()
    inductor.deterministic = deterministic  # choose kernels by rule, not by timing them


def _missing_compiler(device: torch.device) -> list[str]:
    if device.type == "cuda":  # triton builds the code that launches its kernels
        found = shutil.which(os.environ.get("CC") or "gcc") or shutil.which("clang")
        return [] if found else ["a C compiler (gcc or clang, or what CC names)"]
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return ["a C++ compiler (g++, or what CXX names)"]
    return []


def _missing_headers() -> list[str]:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return [] if header.exists() else [f"Python's headers ({header})"]
