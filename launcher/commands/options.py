"""Options that several verbs share. Light: click imports it with every verb."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from launcher.backends.base import Backend

    _Seconds = click.ParamType[float]
else:
    _Seconds = click.ParamType  # generic in newer versions of click only

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


class Duration(_Seconds):
    """A duration as Go writes it (90s, 10m, 1h30m), as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        if value == "0":
            return 0.0
        if not _WHOLE.fullmatch(value):
            self.fail(f"{value!r} is no duration; write numbers with units, such as 90s, 10m or 1h30m", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))


def output_option(*forms: str) -> Callable[[F], F]:
    """Add -o/--output; the function receives ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms or ("table", "wide", "json", "yaml", "name")),
        default="table",
        show_default=True,
        help="Form of the answer on stdout.",
    )


def grace_option(command: F) -> F:
    """Add --grace; the function receives ``grace`` in seconds."""
    return click.option(
        "--grace",
        type=Duration(),
        default="60s",
        show_default=True,
        help="How long the job may take to save and leave before it is killed.",
    )(command)


def timeout_option(command: F) -> F:
    """Add --timeout; the function receives ``timeout`` in seconds, None without a limit."""
    return click.option(
        "--timeout",
        type=Duration(),
        help="Stop waiting after this long (exit 124); the job keeps running.  [default: no limit]",
    )(command)


@dataclass(frozen=True)
class Where:
    """What the options say about where jobs run."""

    backend: str | None
    results_dir: str
    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None

    def open(self, *, announce: bool = False) -> Backend:
        """The backend; ``announce`` says on stderr when the choice was the launcher's."""
        from launcher.backends.kubernetes.kubeconfig import Target
        from launcher.backends.select import choose_backend

        target = Target(kubeconfig=self.kubeconfig, context=self.context, namespace=self.namespace)
        return choose_backend(self.backend, self.results_dir, target=target, say=_talk if announce else None)


_BACKEND_OPTIONS = (
    click.option(
        "--backend",
        type=click.Choice(["local", "kubernetes"]),
        envvar="LAUNCHER_BACKEND",
        show_envvar=True,
        help="Where jobs run.  [default: kubernetes where a cluster is configured, else local]",
    ),
    click.option("-n", "--namespace", metavar="NAME", help="Kubernetes namespace.  [default: the context's]"),
    click.option("--context", metavar="NAME", help="Context of the kubeconfig.  [default: the current one]"),
    click.option(
        "--kubeconfig",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Kubeconfig file.  [default: KUBECONFIG, then ~/.kube/config, then the pod's own account]",
    ),
    click.option(
        "--results-dir",
        type=click.Path(file_okay=False),
        default="results",
        envvar="LAUNCHER_RESULTS",
        show_default=True,
        show_envvar=True,
        help="Root of the local backend's results.",
    ),
)


def backend_options(command: F) -> F:
    """Add the options on where jobs run; the function receives them together as ``where``."""

    @functools.wraps(command)
    def with_where(*args: Any, **given: Any) -> Any:
        names = [field.name for field in fields(Where)]
        return command(*args, where=Where(**{name: given.pop(name) for name in names}), **given)

    wrapped: Any = with_where
    for option in reversed(_BACKEND_OPTIONS):
        wrapped = option(wrapped)
    return cast("F", wrapped)


def _talk(message: str) -> None:
    click.echo(message, err=True)
