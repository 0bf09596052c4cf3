"""Bar lengths: where a bar opens, and what day it belongs to. Pure; times are Unix seconds, UTC."""

from __future__ import annotations

import datetime as dt
from typing import get_args

from crosstape.client.bars import Interval

INTERVALS: tuple[Interval, ...] = get_args(Interval)
DAY = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": DAY, "w": 7 * DAY}
_FIRST_MONDAY = 4 * DAY


def seconds_of(interval: Interval) -> int:
    """The length of a bar; of a month its shortest."""
    if interval == "1M":
        return 28 * DAY
    return int(interval[:-1]) * _UNITS[interval[-1]]


def open_of(timestamp: int, interval: Interval) -> int:
    """When the bar opens that holds `timestamp`: on UTC multiples, weeks on Monday, months on the first."""
    if interval == "1M":
        moment = dt.datetime.fromtimestamp(timestamp, dt.UTC)
        return int(moment.replace(day=1, hour=0, minute=0, second=0).timestamp())
    length = seconds_of(interval)
    offset = _FIRST_MONDAY if interval == "1w" else 0
    return (timestamp - offset) // length * length + offset
