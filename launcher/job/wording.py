"""pydantic's errors in the words of job.yaml."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from launcher.job.model_tree import Location, fields, literals, locate, model_in, tag_field, variants
from launcher.job.problems import Path, Problem, got, shown
from launcher.suggestions import did_you_mean, listing

# A model's own check names the field it is about: "optimizer.nesterov: needs momentum > 0".
_FIELD_PREFIX = re.compile(r"([a-z_][\w.-]*): (.+)", re.DOTALL)
# A field's own check ends with the allowed names.
_ALLOWED_SUFFIX = re.compile(r"(.+) \(allowed ([^:()]+)\)", re.DOTALL)

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
    "too_short": ("of at least", "min_length"),
    "too_long": ("of at most", "max_length"),
}
PATTERNS = {
    r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$": "a quantity such as 32Gi or 500M",
    r"^/[^:]*$": "an absolute path, starting with / and without a colon",
    r"^\S+$": "text without spaces",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "lower-case letters, digits and dashes, without a dash at either end",
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$": "lower-case letters, digits and dashes, "
    "starting with a letter and not ending with a dash",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$": "lower-case letters, digits, dashes and dots",
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$": "letters, digits, dashes, underscores and dots, "
    "starting and ending with a letter or digit",
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$": "the key of a label, "
    "such as gpu-type or example.com/gpu-type",
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$": "the name of a resource, "
    "such as nvidia.com/gpu",
    r"^[-._a-zA-Z0-9]+$": "letters, digits, dashes, underscores and dots",
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
    r":[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$": "a module, a colon and a name in it, "
    "such as my_package.nets:SmallNet",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of a variable: letters, digits and underscores, not starting with a digit",
}
"""What each pattern of the schema means; a test finds a pattern that is missing here."""


def problems(model: type[BaseModel], errors: Sequence[ErrorDetails]) -> list[Problem]:
    """Each error as a problem at its field; errors that only follow from a wrong tag are left out."""
    found = [(error["type"], locate(model, error["loc"]), error) for error in errors]
    mistagged = {where.path[:-1] for kind, where, _ in found if kind != "extra_forbidden" and _is_tag(where)}
    return [
        _problem(where, error)
        for kind, where, error in found
        if not (kind == "extra_forbidden" and where.in_variant and where.path[:-1] in mistagged)
    ]


def _is_tag(where: Location) -> bool:
    return where.in_variant and where.parent is not None and where.path[-1] == tag_field(where.parent)


def _problem(where: Location, error: ErrorDetails) -> Problem:
    special = _SPECIAL.get(error["type"])
    return special(where, error) if special else Problem(where.path, _general(error))


def _general(error: ErrorDetails) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _KINDS:
        hint = "; put it in quotes" if kind == "string_type" and isinstance(value, bool | int | float) else ""
        return f"must be {_KINDS[kind]} {got(value)}{hint}"
    if kind in _BOUNDS:
        sign, key = _BOUNDS[kind]
        if key.endswith("_length"):
            return f"must be a list {sign} {context[key]} (got {context.get('actual_length', 'more')})"
        return f"must be {sign} {_number(context[key])} {got(value)}"
    if kind == "string_too_short":
        return f"must have at least {context['min_length']} characters {got(value)}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters (got {len(value)})"
    if kind == "string_pattern_mismatch":
        return f"must be {PATTERNS.get(context['pattern'], 'like ' + context['pattern'])} {got(value)}"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]} {got(value)}"


def _missing(where: Location, _error: ErrorDetails) -> Problem:
    return Problem(where.path, "required")


def _unknown_key(where: Location, _error: ErrorDetails) -> Problem:
    allowed = list(fields(where.parent)) if where.parent else []
    return Problem(where.path, f"unknown key{did_you_mean(str(where.path[-1]), allowed)} {listing(allowed)}")


def _not_a_literal(where: Location, error: ErrorDetails) -> Problem:
    return Problem(where.path, _unknown_value(error["input"], literals(where.annotation)))


def _tag_unknown(where: Location, error: ErrorDetails) -> Problem:
    tag = _tag_path(where)
    return Problem(tag, _unknown_value(error["input"].get(tag[-1]), _tags(where)) + _or_import(where))


def _tag_missing(where: Location, _error: ErrorDetails) -> Problem:
    return Problem(_tag_path(where), f"required {listing(_tags(where))}{_or_import(where)}")


def _tag_path(where: Location) -> Path:
    return (*where.path, str(tag_field(next(iter(variants(where.annotation).values())))))


def _tags(where: Location) -> tuple[str, ...]:
    """The values of the tag that choose a variant."""
    return tuple(tag for tag, model in variants(where.annotation).items() if tag_field(model))


def _or_import(where: Location) -> str:
    """That code of the user's own would do as well, where it would."""
    possible = any(tag_field(model) is None for model in variants(where.annotation).values())
    return "; or give import in its place, with the path of your own" if possible else ""


def _own_check(where: Location, error: ErrorDetails) -> Problem:
    """A ValueError raised by the schema: by a model about one of its fields, or by a field about its value."""
    reason = str(error["ctx"]["error"])
    prefixed = _FIELD_PREFIX.fullmatch(reason)
    if prefixed and model_in(where.annotation) and isinstance(error["input"], dict):
        steps = tuple(int(step) if step.isdecimal() else step for step in prefixed[1].split("."))
        return Problem((*where.path, *steps), prefixed[2])
    listed = _ALLOWED_SUFFIX.fullmatch(reason)
    if listed and isinstance(error["input"], str):
        allowed = listed[2].split(", ")
        reason = f"{listed[1]}{did_you_mean(error['input'], allowed)} {listing(allowed, near=error['input'])}"
    return Problem(where.path, reason)


_SPECIAL: dict[str, Callable[[Location, ErrorDetails], Problem]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_key,
    "literal_error": _not_a_literal,
    "union_tag_invalid": _tag_unknown,
    "union_tag_not_found": _tag_missing,
    "value_error": _own_check,
}


def _unknown_value(value: Any, allowed: tuple[str, ...]) -> str:
    near = value if isinstance(value, str) else ""
    return f"unknown value {shown(value)}{did_you_mean(near, allowed)} {listing(allowed, near=near)}"


def _number(bound: float) -> str:
    whole = isinstance(bound, float) and bound.is_integer()
    return str(int(bound) if whole else bound)
