"""The span of a replay: from when, until when and how fast, as a client asks for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from crosstape.common.errors import ValidationFailed
from crosstape.common.time import parse_time

FASTEST = 1e6


class Span(Struct, frozen=True):
    """From when to when (ns; None: until the present), and how many times faster than it happened."""

    start: int
    end: int | None
    speed: float


def read_span(asked: Mapping[str, object], now: int) -> Span | None:
    """`from`, `to` and `speed` of a message or an address; None without any of them. Raises ValidationFailed,
    InvalidTimeFormat."""
    if asked.get("from") is None:
        if lone := next((name for name in ("to", "speed") if asked.get(name) is not None), None):
            raise ValidationFailed(f"{lone} is of a replay, which needs from.", {"parameter": "from"})
        return None
    start = read_time(str(asked["from"]), "from")
    end = read_time(str(asked["to"]), "to") if asked.get("to") is not None else None
    try:
        speed = float(str(asked.get("speed", 1)))
    except ValueError:
        speed = 0.0
    if not 0 < speed <= FASTEST:
        raise ValidationFailed(f"speed must be a number above 0, at most {FASTEST:g}.", {"parameter": "speed"})
    if start >= (now if end is None else end):
        raise ValidationFailed("from must lie before to, and before now.", {"parameter": "from"})
    return Span(start, None if end is None or end >= now else end, speed)


def read_time(text: str, parameter: str) -> int:
    """A time (ns) in any form of the platform. Raises InvalidTimeFormat, which names the parameter."""
    return parse_time(text, unix=True, parameter=parameter).nanoseconds
