"""Query parameters: their forms, their bounds, and what they default to."""

from __future__ import annotations

import re
import time
from typing import Annotated, Literal

from fastapi import Response
from msgspec import Struct
from pydantic import BaseModel, BeforeValidator, Field

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.bar import NANOSECONDS, Interval
from crosstape.common.time import parse_time

DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
MAX_OFFSET = 10_000_000
LATEST_SECOND = 4_291_747_200
"""2106-01-01. What the store's times hold ends in the February after: the end of a bar around it fits too."""

_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)


def _whole(value: object) -> object:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number of at most nine digits")
    return value


# Bounds stand before the validator: behind it they would be no `minimum` and `maximum` in the document.
Limit = Annotated[
    int, Field(ge=1, le=MAX_LIMIT, description=f"rows of a page, 1 to {MAX_LIMIT}"), BeforeValidator(_whole)
]
Offset = Annotated[
    int, Field(ge=0, le=MAX_OFFSET, description=f"rows to skip, 0 to {MAX_OFFSET}"), BeforeValidator(_whole)
]
SymbolText = Annotated[
    str,
    Field(
        description="symbol, with its exchange where several have it",
        examples=["BINANCE:BTCUSDT.P"],
        min_length=1,
        max_length=64,
    ),
]
TimeText = Annotated[
    str,
    Field(description="ISO 8601 (no zone means UTC)", examples=["2025-07-01T00:00:00Z"], max_length=64),
]
Numbers = Annotated[
    Literal["number", "string"], Field(description="prices and volumes as JSON numbers or as strings, exact either way")
]
Cursor = Annotated[str | None, Field(description="`next_cursor` of the page before", max_length=300)]
Bars = Annotated[Interval, Field(description="length of a bar")]


class Parameters(BaseModel, extra="forbid"):
    """What a route takes. Any other is refused: who writes `strat=`, or `start=` for `start_date=`, would get rows that
    were not meant."""


class SpanParameters(Parameters):
    """A range of time on the routes by exchange and symbol."""

    start: TimeText | None = Field(
        None,
        description="first time: ISO 8601, Unix seconds, or the deprecated YYYYMMDD-HHmm; if left out the newest rows "
        "(of completeness the last hour)",
    )
    end: TimeText | None = Field(None, description="exclusive end, in the same forms; now if left out")


class PageParameters(SpanParameters):
    """A page of such a range."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = None
    numbers: Numbers = "number"


class Range(Struct, frozen=True):
    """[start, end) in ns; `start` is None where the caller left it out."""

    start: int | None
    end: int

    @property
    def seconds(self) -> tuple[int, int]:
        """The open times (Unix s) that lie in it and that the store can hold: both bounds rounded up, as an open time
        is a whole second."""
        return _up(self.start or 0), _up(self.end)


def _up(nanoseconds: int) -> int:
    return max(0, min(-(-nanoseconds // NANOSECONDS), LATEST_SECOND))


def time_range(start: str | None, end: str | None, response: Response, *, unix: bool, date: bool = False) -> Range:
    """The range of two parameters; says so in `response` when a deprecated form was used.

    Raises InvalidTimeFormat, ValidationFailed when it ends before it starts.
    """
    first = None if start is None else parse_time(start, unix=unix, date=date, parameter="start")
    last = None if end is None else parse_time(end, unix=unix, date=date, parameter="end")
    if (first is not None and first.is_legacy) or (last is not None and last.is_legacy):
        response.headers["Deprecation"] = "true"
    until = time.time_ns() + NANOSECONDS if last is None else last.nanoseconds
    since = None if first is None else first.nanoseconds
    if last is not None and since is not None and until < since:
        raise ValidationFailed("end must not be before start.", {"parameter": "end"})
    return Range(since, until)


def check_days(span: Range, most: int) -> None:
    """Refuse a range longer than `most` days. Raises ValidationFailed."""
    if span.start is not None and span.end - span.start > most * 86_400 * NANOSECONDS:
        raise ValidationFailed(
            f"the range must not be longer than {most} days.", {"parameter": "end", "max_days": most}
        )
