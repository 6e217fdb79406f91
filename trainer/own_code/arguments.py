"""Arguments from a configuration, checked against the signature of what is called with them."""

import difflib
import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from trainer.exits import ConfigError

_SCALARS = (int, float, str, bool, Path, types.NoneType, Any)
_CONTAINERS = (tuple, list, dict, set, frozenset, Sequence, Mapping)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def bound_arguments(
    call: Callable[..., Any], args: Mapping[str, Any], supplied: Mapping[str, Any], *, field: str, name: str
) -> dict[str, Any]:
    """What to call ``call`` with, by name: ``args``, and of ``supplied`` what its signature names and ``args`` do not.

    Where a parameter is annotated with a simple type (numbers, text, booleans, paths, and lists, tuples or mappings of
    them), its value is checked and becomes that type: a list becomes a tuple, text a path.

    Args:
        call: A class or function. One without a signature, as some that are written in C, is not checked.
        args: Values as JSON has them, from the configuration.
        supplied: What the trainer offers.
        field: Where ``args`` were written, such as train.model.args.
        name: What messages call ``call``.

    Raises:
        ConfigError: An argument is unknown, missing, or of another type; all that are wrong are named.
    """
    parameters = _parameters(call)
    if parameters is None:
        return dict(args)
    by_name = {key: parameter for key, parameter in parameters.items() if parameter.kind in _BY_NAME}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    given = {**{key: value for key, value in supplied.items() if key in by_name}, **args}
    wrong = [] if takes_any else [_unknown(key, by_name, field, name) for key in args if key not in by_name]
    wrong += _missing(parameters, given, field, name)
    values = {}
    for key, value in args.items():
        annotation = by_name[key].annotation if key in by_name else Any
        try:
            values[key] = _of_type(annotation, value)
        except ValidationError as error:
            wrong += _mistyped(error, f"{field}.{key}", annotation, name)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return {**given, **values}


def _parameters(call: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(call, eval_str=True).parameters
    except (NameError, SyntaxError, TypeError, AttributeError):  # an annotation that cannot be evaluated here
        return inspect.signature(call).parameters
    except ValueError:
        return None


def _unknown(key: str, by_name: Mapping[str, inspect.Parameter], field: str, name: str) -> str:
    close = difflib.get_close_matches(key, by_name, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{field}.{key}: {name} takes no such argument{meant} ({_takes(by_name)})"


def _missing(parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any], field: str, name: str) -> list[str]:
    required = [
        parameter
        for parameter in parameters.values()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (*_BY_NAME, inspect.Parameter.POSITIONAL_ONLY)
    ]
    if unnamed := [one.name for one in required if one.kind is inspect.Parameter.POSITIONAL_ONLY]:
        return [f"{field}: {name} takes {', '.join(unnamed)} by position only; write a function around it"]
    return [f"{field}.{one.name}: {name} needs it ({_takes(parameters)})" for one in required if one.name not in given]


def _takes(parameters: Mapping[str, inspect.Parameter]) -> str:
    """``it takes: width=16, depth=2``."""
    shown = [
        one.name if one.default is inspect.Parameter.empty else f"{one.name}={one.default!r}"
        for one in parameters.values()
        if one.kind in _BY_NAME
    ]
    return f"it takes: {', '.join(shown)}" if shown else "it takes none"


def _of_type(annotation: Any, value: Any) -> Any:
    if not _is_simple(annotation):
        return value
    # As JSON, which is what it came from: strict, and still a list makes a tuple.
    return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)


def _is_simple(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_simple(get_args(annotation)[0])
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType, *_CONTAINERS):
        return all(one is Ellipsis or _is_simple(one) for one in get_args(annotation))
    return annotation in _SCALARS or annotation in _CONTAINERS


def _mistyped(error: ValidationError, field: str, annotation: Any, name: str) -> list[str]:
    wanted = inspect.formatannotation(annotation)
    lines = []
    for one in error.errors(include_url=False, include_context=False):
        place = ".".join([field, *(str(step) for step in one["loc"] if isinstance(step, int))])
        lines.append(f"{place}: {name} wants {wanted} (got {json.dumps(one['input'], default=str)[:60]})")
    return list(dict.fromkeys(lines))
