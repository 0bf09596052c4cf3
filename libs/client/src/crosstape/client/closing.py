"""Closing codes: what a lost connection means. Pure."""

from __future__ import annotations

import enum

from crosstape.client.errors import StreamClosed
from crosstape.client.events import Refused
from crosstape.client.retry import LONGEST_SECONDS, backoff


class Fate(enum.Enum):
    """What follows."""

    AGAIN_AT_ONCE = "again at once"
    AGAIN = "again after a pause"
    RENEW = "again with a new token"
    OVER = "not again"


INVALID, RESTART = 1008, 1012
UNAUTHENTICATED, FORBIDDEN, UNKNOWN_SYMBOL, TOO_SLOW, TOO_MANY = 4401, 4403, 4404, 4408, 4429
LOST = 0
"""There was no closing code: the connection broke."""

_FATES = {
    INVALID: Fate.OVER,
    RESTART: Fate.AGAIN_AT_ONCE,
    UNAUTHENTICATED: Fate.RENEW,
    FORBIDDEN: Fate.OVER,
    UNKNOWN_SYMBOL: Fate.OVER,
}
_ERROR_CODES = {
    INVALID: "VALIDATION_ERROR",
    UNAUTHENTICATED: "UNAUTHENTICATED",
    FORBIDDEN: "FORBIDDEN",
    UNKNOWN_SYMBOL: "SYMBOL_NOT_FOUND",
}


def fate_of(code: int) -> Fate:
    """What follows a connection that was closed with `code`."""
    return _FATES.get(code, Fate.AGAIN)


def reconnect_pause(fate: Fate, failures: int, chance: float, retry_after: float = 0.0) -> float:
    """Seconds before the next connection after `failures` connections in a row that told nothing; `retry_after` is what
    the server asked for, of which no more than half a minute is waited."""
    if failures == 0 and fate is not Fate.AGAIN:
        return 0.0
    return min(retry_after, LONGEST_SECONDS) + backoff(failures, chance)


def closed(code: int, reason: str, refusal: Refused | None) -> StreamClosed:
    """The error of a stream that is over; the server's last refusal, where there was one, says why."""
    if refusal is not None:
        return StreamClosed(code, refusal.error_code, refusal.message, refusal.details)
    error_code = _ERROR_CODES.get(code, "STREAM_CLOSED")
    return StreamClosed(code, error_code, reason or f"The server closed the stream ({code}).")
