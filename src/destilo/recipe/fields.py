"""What the fields of a recipe are made of: bounded numbers, lists, and values of several shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Count: TypeAlias = Annotated[int, Field(ge=1)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Probability: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]


def as_tuple(value: Any) -> Any:
    """Turn a list, as YAML gives it, into the tuple that a strict field wants."""
    return tuple(value) if isinstance(value, list) else value


def shape(value: Any) -> str:
    """Name the member of a union that a value was meant for, so that errors speak of that one.

    Tags stand in angle brackets: ``load`` strips them from the place of an error.
    """
    if isinstance(value, list | tuple):
        return "<list>"
    return "<section>" if isinstance(value, Mapping | BaseModel) else "<value>"


class Spec(BaseModel):
    """What all parts of a recipe share: frozen, strict, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )
