"""The user's own code, imported by path: what may be imported, from where, and what it was.

Nothing is imported before ``allow_imports`` was called: a checkpoint, too, may name code, and whoever opens one has to
say which code may run. The user's folder goes to the end of ``sys.path``, where a file called like a module of Python
or of an installed package cannot take its place.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer.config.imports import Imported, Source
from trainer.exits import ConfigError, DataError
from trainer.own_code.arguments import bound_arguments

_MOST_LISTED = 20


@dataclass(frozen=True)
class _Allowed:
    """What may be imported in this process."""

    folder: Path | None
    """Where the user's modules are."""
    packages: frozenset[str] | None
    """Installed packages that may be imported from; None is any."""

    def __str__(self) -> str:
        return " or ".join([*([str(self.folder)] if self.folder else ()), *sorted(self.packages or ())])

    def holds(self, place: Path | None) -> bool:
        """Whether ``place`` is in the user's folder."""
        return place is not None and self.folder is not None and place.is_relative_to(self.folder)

    def includes(self, module: str) -> bool:
        """Whether code of ``module`` may be used."""
        top = module.partition(".")[0]
        return self.packages is None or top in self.packages or self.holds(_place(top))

    def check_module(self, module: str, field: str) -> None:
        """Refuse a module that may not be imported, or that another one hides, without importing it."""
        top = module.partition(".")[0]
        own = self.folder and importlib.machinery.PathFinder.find_spec(top, [str(self.folder)])
        if own and own.origin and not self.holds(place := _place(top)):
            raise ConfigError(
                f"{field}.import: Python has another module called {top} ({place or 'built in'}), which comes first; "
                f"give yours in {self.folder} another name"
            )
        if not self.includes(module):
            raise ConfigError(f"{field}.import: {module} is no module of {self}, and only that may be imported here")

    def check_use(self, path: str, found: Any, field: str) -> None:
        """Refuse what ``path`` leads to where it is not defined in what may be imported, such as ``nets:os.system``."""
        if self.packages is None:
            return
        module = found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", None)
        if not isinstance(module, str) or not self.includes(module):
            where = f" but in {module}" if isinstance(module, str) else ""
            raise ConfigError(
                f"{field}.import: {path} is not defined in {self}{where}, and only what is may be used here"
            )


_allowed: _Allowed | None = None
_named: set[str] = set()
"""Modules that were imported by path, and those that define what was found in them."""


def allow_imports(folder: Path | None, *, packages: Collection[str] | None = None) -> None:
    """Let this process import what a configuration names.

    Args:
        folder: Where the user's modules are; it is added at the end of ``sys.path``.
        packages: The only installed packages that may be imported from. With this, what is named must also be defined
            in one of them or in ``folder``: being imported there, as ``os`` is in many a module, is not enough.
            Default: any, and anything in them.

    Raises:
        DataError: There is no such folder.
    """
    global _allowed
    if folder is not None:
        folder = folder.resolve()
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder to import from")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    _allowed = _Allowed(folder, None if packages is None else frozenset(packages))


def prepare(
    path: str,
    args: Mapping[str, Any],
    *,
    field: str,
    args_field: str = "args",
    supplied: Mapping[str, Any] | None = None,
) -> Callable[[], Any]:
    """Import what ``path`` names and check its arguments; the call that is left to make.

    Args:
        path: An import path, module:name.
        args: Its arguments by name.
        field: The mapping of the configuration that names it, such as train.model.
        args_field: The key in it that holds the arguments.
        supplied: What the trainer passes where the signature has these names and ``args`` do not.

    Raises:
        ConfigError: It cannot be imported, may not be, cannot be called, or not with these arguments.
    """
    call = _find(path, field)
    name = path.partition(":")[2]
    return functools.partial(
        call, **bound_arguments(call, args, supplied or {}, field=f"{field}.{args_field}", name=name)
    )


def prepare_imported(config: Imported, field: str, supplied: Mapping[str, Any] | None = None) -> Callable[[], Any]:
    """``prepare`` for what ``config`` names; ``field`` is where that was written."""
    return prepare(config.import_, config.args, field=field, supplied=supplied)


def sources() -> dict[str, Source]:
    """The files that the user's code was imported from so far, by module; those that it imported itself included."""
    loaded = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    files = {name: Path(file) for name, file in loaded.items() if file}
    own = {name for name, file in files.items() if _allowed and _allowed.holds(file)}
    return {
        name: Source(file=str(files[name]), sha256=hashlib.sha256(files[name].read_bytes()).hexdigest())
        for name in sorted(own | (_named & files.keys()))
        if files[name].is_file()
    }


def changed(before: Mapping[str, Source], now: Mapping[str, Source]) -> list[str]:
    """Modules that both name and whose files differ."""
    return [name for name, source in before.items() if name in now and now[name].sha256 != source.sha256]


def raised_where(error: BaseException) -> str:
    """An exception and the line of the user's code that it came from: ``ValueError: no (/code/data.py, line 3)``."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{kind}: {error.msg} ({error.filename}, line {error.lineno})"
    message = f"{kind}: {error}" if str(error) else kind
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    own = [frame for frame in frames if _allowed and _allowed.holds(Path(frame.filename))]
    return f"{message} ({(own or frames)[-1].filename}, line {(own or frames)[-1].lineno})" if frames else message


def _find(path: str, field: str) -> Callable[..., Any]:
    module, _, attributes = path.partition(":")
    if _allowed is None:
        raise ConfigError(f"{field}.import: {path} is code, and no code may be imported here")
    _allowed.check_module(module, field)
    found: Any = _import(module, field, _allowed)
    for name in attributes.split("."):
        if not hasattr(found, name):
            raise ConfigError(f"{field}.import: {_lacks(found, name)}")
        found = getattr(found, name)
        _allowed.check_use(path, found, field)
    if not callable(found):
        kind = "a module" if isinstance(found, ModuleType) else f"of type {type(found).__name__}"
        raise ConfigError(f"{field}.import: {path} is {kind}; expected a class or a function")
    _named.update({module, str(getattr(found, "__module__", module))})
    return found  # type: ignore[no-any-return]  # callable() was asked


def _import(module: str, field: str, allowed: _Allowed) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None or not f"{module}.".startswith(f"{missing}."):
            raise ConfigError(f"{field}.import: importing {module} failed: {raised_where(error)}") from error
        where = f"in {allowed.folder} and among" if allowed.folder else "among"
        hint = "" if allowed.folder else "; train.import_from names a folder of your own"
        raise ConfigError(
            f"{field}.import: there is no module {missing}, looked for {where} the installed packages{hint}"
        ) from error


def _lacks(found: Any, name: str) -> str:
    """What is wrong with ``name`` where ``found``, a module or a class, has none."""
    holder = getattr(found, "__name__", str(found))
    own = [key for key, value in vars(found).items() if getattr(value, "__module__", None) == holder]
    close = difflib.get_close_matches(name, own, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    listed = f" (it defines {', '.join(own[:_MOST_LISTED])})" if own else ""
    return f"{holder} has no {name}{meant}{listed}"


def _place(top: str) -> Path | None:
    """Where Python finds, or has found, the module or package ``top``, which is not imported for that."""
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # one that was not imported from anywhere, such as __main__
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())  # all that there is of a package without an __init__.py
    places = [spec.origin] if spec.origin and spec.has_location else folders
    return Path(places[0]).resolve() if places else None
