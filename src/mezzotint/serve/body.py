"""The base of request bodies: objects of known fields, whose numbers are numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from mezzotint import unknown

GREATEST = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""


def _check_number(value: Any) -> Any:
    """JSON has one kind of number, and true is none."""
    if isinstance(value, bool | str):
        raise ValueError("should be a number")
    return value


Whole = Annotated[int, BeforeValidator(_check_number)]
Number = Annotated[float, BeforeValidator(_check_number)]


class RequestBody(BaseModel):
    """Base of request bodies: unknown fields are refused, with the nearest spelling."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(str(unknown("field", str(name)[:50], cls.model_fields)))
        return values
