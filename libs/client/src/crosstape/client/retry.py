"""When to try again, and after how long. Pure: chance comes in as a number of [0, 1)."""

from __future__ import annotations

RETRIES = 4
"""Further attempts of one request."""

FIRST_SECONDS = 0.25
LONGEST_SECONDS = 30.0
"""A longer Retry-After is not waited for: the caller hears of it at once and decides."""

RETRIED_STATUSES = frozenset({408, 429, 503})


def backoff(attempt: int, chance: float) -> float:
    """Seconds before try `attempt` (from 0) again when nobody said how long: exponential, full jitter."""
    return chance * min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempt, 16))


def request_pause(attempt: int, status: int, retry_after: float | None, chance: float) -> float | None:
    """Seconds before a safe request is sent again, None when its failure is to be told.

    `status` is 0 where no answer came. Jitter comes on top of Retry-After, as earlier would be in vain.
    """
    if attempt >= RETRIES or (status and status not in RETRIED_STATUSES):
        return None
    if retry_after is None:
        return backoff(attempt, chance)
    if retry_after > LONGEST_SECONDS:
        return None
    return retry_after + chance * FIRST_SECONDS * 2.0**attempt
