"""Modules of a user's own for tests, which no other test can import afterwards."""

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.own_code import imports


def write_modules(folder: Path, **modules: str) -> Path:
    """Write each module's source into ``folder``; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return folder


@contextmanager
def own_imports() -> Iterator[None]:
    """Nothing may be imported at first; at the end modules, path and permission are as before."""
    path, modules = [*sys.path], set(sys.modules)
    allowed, named = imports._allowed, {*imports._named}
    imports._allowed = None
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not any(Path(file).is_relative_to(entry) for entry in path if entry):
                del sys.modules[name]
        imports._allowed = allowed
        imports._named.clear()
        imports._named.update(named)
