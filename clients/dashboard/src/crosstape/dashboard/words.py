"""What a person is told: errors as sentences that say what to do, numbers and times as a trader reads them. Pure."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from crosstape.client import (
    ApiError,
    Conflict,
    ConnectionFailed,
    CrosstapeError,
    RateLimited,
    StreamClosed,
    SymbolNotFound,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)

SIGNED_OUT = "Your session has ended. Sign in again to go on."
MINUS = "−"


def sentence(error: CrosstapeError) -> str:
    """What went wrong and what helps."""
    match error:
        case ConnectionFailed():
            return "The platform cannot be reached. Try again in a few seconds."
        case RateLimited(retry_after=seconds):
            return f"Too many requests: wait {seconds:.0f} s and try again." if seconds else "Too many requests: wait."
        case Unauthenticated():
            return SIGNED_OUT
        case StreamClosed(code=4401):
            return SIGNED_OUT
        case SymbolNotFound(message=message, suggestions=[_, *_] as suggestions):
            return f"{message.rstrip('.')}. Did you mean {', '.join(suggestions)}?"
        case Unavailable():
            return "A part of the platform is away at the moment. Try again in a few seconds."
        case ValidationFailed(message=message):
            return f"{message.rstrip('.')}."
        case Conflict(message=message) | ApiError(message=message):
            return f"{message.rstrip('.')}."
        case _:
            return str(error)


def plain(number: Decimal | None, places: int | None = None, *, signed: bool = False) -> str:
    """`number` with thousands separators, a true minus sign, and so many places (all it has if None); "–" for None."""
    if number is None:
        return "–"
    value = number if places is None else round(number, places)
    text = f"{abs(value):,f}"
    if places is None and "." in text:
        text = text.rstrip("0").rstrip(".")
    mark = MINUS if value < 0 else "+" if signed and value > 0 else ""
    return mark + text


def compact(number: Decimal | None) -> str:
    """A quantity in about six characters: 1,204 and 12.31 and 0.0042 and 1.2M; what is small, such as 0.00002, is not
    told as nothing."""
    if number is None:
        return "–"
    size = abs(number)
    for limit, divisor, unit in ((10**9, 10**9, "B"), (10**6, 10**6, "M"), (10**5, 10**3, "k")):
        if size >= limit:
            return plain(number / divisor, 1) + unit
    places = 0 if size >= 1_000 else 2 if size >= 10 else max(4, -size.adjusted()) if size else 4
    return plain(number, places)


def places_of(*numbers: Decimal) -> int:
    """The most decimal places that any of `numbers` needs."""
    exponents = [number.normalize().as_tuple().exponent for number in numbers]
    return max((0, *(-exponent for exponent in exponents if isinstance(exponent, int))))


def clock(moment: dt.datetime) -> str:
    """The time of day, to the second; a naive `moment` is UTC."""
    return moment.strftime("%H:%M:%S")


def span(seconds: float) -> str:
    """A length of time: 45 s, 12 min 30 s, 3 h 5 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    parts = [(whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    said = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(said) or "0 s"
