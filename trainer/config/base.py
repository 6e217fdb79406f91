"""The base of every configuration model: frozen, closed, strict."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen value: unknown keys are errors, types are not coerced, non-finite floats are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
    )
