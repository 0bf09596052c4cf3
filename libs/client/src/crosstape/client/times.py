"""Times a caller may give, as the text the platform reads. Pure."""

from __future__ import annotations

import datetime as dt
import operator
from decimal import Decimal
from typing import SupportsIndex

Time = dt.datetime | float | Decimal | SupportsIndex | str
"""A datetime (naive means UTC), Unix seconds (also numpy's), or text in one of the platform's own forms, which is sent
as it is."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_YEAR_10000 = 253_402_300_800


def time_text(moment: Time) -> str:
    """`moment` in ISO 8601, UTC, to the last digit it has. Raises ValueError for Unix seconds of no year from 1970 to
    9999, such as milliseconds."""
    if isinstance(moment, str):
        return moment
    if isinstance(moment, dt.datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"
    unix = _exact(moment)
    if not (unix.is_finite() and 0 <= unix < _YEAR_10000):
        raise ValueError(f"{unix} is no time in Unix seconds.")
    seconds, _, fraction = format(unix, "f").partition(".")
    whole = (_EPOCH + dt.timedelta(seconds=int(seconds))).replace(tzinfo=None).isoformat()
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def _exact(seconds: float | Decimal | SupportsIndex) -> Decimal:
    """A float means the digits it shows: those it has in binary are more than the platform reads."""
    if isinstance(seconds, Decimal):
        return seconds
    return Decimal(repr(float(seconds)) if isinstance(seconds, float) else operator.index(seconds))


def date_text(moment: Time | dt.date) -> str:
    """The same, for the route that takes bare dates too."""
    if isinstance(moment, dt.date) and not isinstance(moment, dt.datetime):
        return moment.isoformat()
    return time_text(moment)


def utc(seconds: int | Decimal) -> dt.datetime:
    """Unix seconds as a datetime, to the microsecond."""
    return _EPOCH + dt.timedelta(microseconds=int(seconds * 1_000_000))
