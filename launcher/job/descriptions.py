"""The docstring under each field of a model, read from the source when something is generated from it.

pydantic can do this as the models are made, but then every start of the launcher pays for it: a quarter of its imports.
"""

import ast
import functools
import inspect
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema


@functools.cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """What is said of each field, by its name; inherited fields included."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            found |= _own(kind)
    return found


def _own(model: type[BaseModel]) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - the source of a class
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            value = text.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = inspect.cleandoc(value.value)
    return found


class PlainSchema(GenerateJsonSchema):
    """JSON Schema with descriptions, without the titles that only repeat keys, and closed wherever a model is."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        """A mapping whose keys must match a pattern takes no others."""
        written = super().dict_schema(schema)
        return {**written, "additionalProperties": False} if "patternProperties" in written else written

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """The schema of a model, with what its fields' docstrings say."""
        written = super().model_schema(schema)
        properties = written.get("properties", {})
        model: type[BaseModel] = schema["cls"]
        for name, text in descriptions(model).items():
            key = model.model_fields[name].alias or name
            if key in properties:
                properties[key] = {**properties[key], "description": text}
        return written
