"""Times a caller may give, as the text the platform reads. Pure."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

Time = dt.datetime | int | Decimal | str
"""A datetime (naive means UTC), Unix seconds, or text in one of the platform's own forms, which is sent as it is."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def time_text(moment: Time) -> str:
    """`moment` in ISO 8601, UTC, to the last digit it has."""
    if isinstance(moment, str):
        return moment
    if isinstance(moment, dt.datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"
    seconds, _, fraction = format(Decimal(moment), "f").partition(".")
    whole = (_EPOCH + dt.timedelta(seconds=int(seconds))).replace(tzinfo=None).isoformat()
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def date_text(moment: Time | dt.date) -> str:
    """The same, for the route that takes bare dates too."""
    if isinstance(moment, dt.date) and not isinstance(moment, dt.datetime):
        return moment.isoformat()
    return time_text(moment)


def utc(seconds: int | Decimal) -> dt.datetime:
    """Unix seconds as a datetime, to the microsecond."""
    return _EPOCH + dt.timedelta(microseconds=int(seconds * 1_000_000))
