"""Models that describe answers in the API's document. None is ever made: bodies are written from exact texts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.json_schema import SkipJsonSchema

Absent = SkipJsonSchema[None]
"""In a union with None as the default: the field may be left out, and is never null."""
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Count = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
TradeId = Int64 | str
"""A number where the exchange numbers its trades, else its text."""


def _without_null_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]


class Described(BaseModel):
    """The body of an answer, or a part of one. Fields may be added to it."""

    model_config = ConfigDict(json_schema_extra=_without_null_defaults)


class Number(RootModel[float | Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]]):
    """An exact decimal of any number of digits: a number, or with `?numbers=string` its text."""
