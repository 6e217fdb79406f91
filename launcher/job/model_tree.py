"""Walking the schema's annotations: what sits at a place, and what its unions choose between."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo

from launcher.job.problems import Path


@dataclass(frozen=True)
class Location:
    """Where a pydantic error belongs."""

    path: Path
    """Keys and indices, as in the file: without the tags that pydantic puts in for the variants of a union."""
    annotation: Any
    """What the schema expects there; None below an unknown key."""
    parent: type[BaseModel] | None
    """The model whose field it is."""
    in_variant: bool
    """Whether that model is one of several that a tag chooses between."""


def locate(model: type[BaseModel], loc: Sequence[str | int]) -> Location:
    """Follow a pydantic error's ``loc`` down from ``model``."""
    path: Path = ()
    here: Any = model
    parent, in_variant, from_tag, named_key = None, False, False, False
    for step in loc:
        choices = variants(here)
        if choices:
            here, from_tag = choices.get(str(step)), True
            continue
        choices_of_form = forms(here)
        if str(step) in choices_of_form:
            here = choices_of_form[str(step)]
            continue
        if step == "[key]" and named_key:  # pydantic's mark for an error in the key that the step before named
            continue
        named_key = any(get_origin(kind) is dict for kind, _ in _members(here))
        parent, in_variant, from_tag = model_in(here), from_tag, False
        path = (*path, step)
        here = _child(here, step)
    return Location(path, here, parent, in_variant)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation stands for, if it is exactly one."""
    members = _members(annotation)
    if len(members) == 1 and isinstance(members[0][0], type) and issubclass(members[0][0], BaseModel):
        return members[0][0]
    return None


def variants(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models of a tagged union by their tags; empty when the annotation is not one."""
    members = _members(annotation)
    if len(members) < 2 or not all(isinstance(kind, type) and issubclass(kind, BaseModel) for kind, _ in members):
        return {}
    return {_tag(kind, extras): kind for kind, extras in members}


def forms(annotation: Any) -> dict[str, Any]:
    """What a field may be that is either one value or a mapping, by pydantic's tags; empty for other fields."""
    members = _members(annotation)
    tags = {extra.tag: kind for kind, extras in members for extra in extras if isinstance(extra, Tag)}
    return tags if len(members) > 1 and not variants(annotation) else {}


def tag_field(model: type[BaseModel]) -> str | None:
    """The field whose value chooses this variant: ``kind``, ``name`` or ``task``; None where the key `import` does."""
    return next((name for name in ("kind", "name", "task") if name in model.model_fields), None)


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by their keys in job.yaml, which differ from their names where Python reserves one."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def literals(annotation: Any) -> tuple[str, ...]:
    """The values that a Literal allows."""
    return tuple(
        str(value) for kind, _ in _members(annotation) if get_origin(kind) is Literal for value in get_args(kind)
    )


def _members(annotation: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """The members of a union, None left out, each with what ``Annotated`` says of it; one for a plain type."""
    if get_origin(annotation) is Annotated:
        kind, *extras = get_args(annotation)
        inner = _members(kind)
        return [(inner[0][0], (*inner[0][1], *extras))] if len(inner) == 1 else inner
    if get_origin(annotation) in (Union, UnionType):
        return [member for kind in get_args(annotation) for member in _members(kind)]
    return [] if annotation in (None, NoneType) else [(annotation, ())]


def _tag(model: type[BaseModel], extras: tuple[Any, ...]) -> str:
    explicit = [extra.tag for extra in extras if isinstance(extra, Tag)]
    return explicit[0] if explicit else literals(model.model_fields[str(tag_field(model))].annotation)[0]


def _child(annotation: Any, step: str | int) -> Any:
    model = model_in(annotation)
    if model is not None:
        field = fields(model).get(str(step))
        return field.annotation if field else None
    for kind, _ in _members(annotation):
        arguments = get_args(kind)
        if get_origin(kind) is dict:
            return arguments[1]
        if get_origin(kind) is tuple and isinstance(step, int) and arguments:
            return arguments[0] if arguments[-1] is Ellipsis else arguments[min(step, len(arguments) - 1)]
    return None
