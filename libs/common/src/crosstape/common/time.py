"""Times that users write: ISO 8601, the legacy form, bare dates and Unix seconds, all to integer nanoseconds UTC."""

from __future__ import annotations

import calendar
import datetime as dt
import re

from msgspec import Struct

from crosstape.common.errors import InvalidTimeFormat
from crosstape.common.market.bar import NANOSECONDS

_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(Z|[-+ ](?:[01]\d|2[0-3]):[0-5]\d)?", re.ASCII
)
_LEGACY = re.compile(r"(\d{4})(\d{2})(\d{2})-(\d{2})(\d{2})", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_UNIX = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?", re.ASCII)

EARLIEST_YEAR, LATEST_YEAR = 1970, 2261
"""What 64 bits of nanoseconds since the epoch can hold."""
_UNIX_END = calendar.timegm((LATEST_YEAR + 1, 1, 1, 0, 0, 0))


class UserTime(Struct, frozen=True):
    """A time a user wrote: nanoseconds since the epoch, and in which form it came."""

    nanoseconds: int
    is_legacy: bool = False
    is_date: bool = False


def parse_time(text: str, *, unix: bool = False, date: bool = False, parameter: str = "") -> UserTime:
    """`text` as a time. No zone means UTC. Unix seconds and bare dates only where the route takes them.

    A space may stand for a zone's plus: that is what a query string makes of the `+03:00` in seed 2's own examples.
    Raises InvalidTimeFormat, which names the `parameter`, for anything else, and for times that do not exist
    (2025-02-30).
    """
    try:
        return _read(text, unix=unix, date=date)
    except ValueError as error:
        raise InvalidTimeFormat(text, parameter) from error


def _read(text: str, *, unix: bool, date: bool) -> UserTime:
    if match := _ISO.fullmatch(text):
        *fields, fraction, zone = match.groups()
        return UserTime(_instant(fields, fraction) - _zone_seconds(zone) * NANOSECONDS)
    if match := _LEGACY.fullmatch(text):
        return UserTime(_instant([*match.groups(), "0"], None), is_legacy=True)
    if date and (match := _DATE.fullmatch(text)):
        return UserTime(_instant([*match.groups(), "0", "0", "0"], None), is_date=True)
    if unix and (match := _UNIX.fullmatch(text)):
        seconds, fraction = match.groups()
        if int(seconds) < _UNIX_END:
            return UserTime(int(seconds) * NANOSECONDS + _fraction(fraction))
    raise ValueError("none of the forms")


def _instant(fields: list[str], fraction: str | None) -> int:
    year, month, day, hour, minute, second = map(int, fields)
    if not EARLIEST_YEAR <= year <= LATEST_YEAR:
        raise ValueError("beyond what nanoseconds can hold")
    moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
    return calendar.timegm(moment.utctimetuple()) * NANOSECONDS + _fraction(fraction)


def _fraction(digits: str | None) -> int:
    return int(digits.ljust(9, "0")) if digits else 0


def _zone_seconds(zone: str | None) -> int:
    if zone is None or zone == "Z":
        return 0
    seconds = int(zone[1:3]) * 3_600 + int(zone[4:6]) * 60
    return -seconds if zone[0] == "-" else seconds


def iso_milliseconds(moment: dt.datetime) -> str:
    """`2025-11-13T10:30:45.123Z`: how answers say when they were made."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
