"""Inbox: what a client has said and is not answered yet, and how much of that there may be."""

from __future__ import annotations

from collections import deque

from crosstape.stream_hub.assembly import Received
from crosstape.stream_hub.limits import Allowance
from crosstape.stream_hub.protocol import TooMany, closing

MESSAGES_PER_SECOND = 20.0
MESSAGES_AT_ONCE = 60
BYTES_OF_ONE = 4 * 1024
"""A longer message counts as several: to read the longest one may take the hub milliseconds."""
MOST_STRIKES = 100
"""Messages over the allowance, each answered with an error, after which the socket is closed. One a second is
forgiven."""
FRAMES_PER_SECOND = 200.0
FRAMES_AT_ONCE = 2_000
"""Frames of every kind: pings and parts of messages cost the hub time too. A message in parts of 64 bytes has 1,024."""
MOST_WAITING = MESSAGES_AT_ONCE + MOST_STRIKES
"""Messages that wait for the one before them: a client that does not read what it asked for asks no further."""


class Inbox:
    """Messages in their order. `now` is the loop's time (s)."""

    def __init__(self, now: float):
        self._messages: deque[tuple[Received, bool]] = deque()
        self._allowance = Allowance(MESSAGES_PER_SECOND, MESSAGES_AT_ONCE, now)
        self._strikes = Allowance(1, MOST_STRIKES, now)
        self._frames = Allowance(FRAMES_PER_SECOND, FRAMES_AT_ONCE, now)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._messages)

    def hear(self, now: float) -> None:
        """A frame, whatever is in it. Raises Closing for one too many."""
        if not self._frames.take(now):
            raise closing(TooMany(f"No more than {FRAMES_PER_SECOND:.0f} frames a second, please."))

    def put(self, received: Received, now: float) -> None:
        """One more. Raises Closing for one too many."""
        cost = 1 + len(received.payload) // BYTES_OF_ONE
        is_allowed = self._allowance.take(now, cost)
        if len(self._messages) >= MOST_WAITING or not (is_allowed or self._strikes.take(now, cost)):
            raise closing(too_often())
        self._messages.append((received, is_allowed))

    def take(self) -> tuple[Received, bool]:
        """The oldest one, and whether it came within the allowance."""
        return self._messages.popleft()


def too_often() -> TooMany:
    """What is answered to a message over the allowance."""
    return TooMany(f"No more than {MESSAGES_PER_SECOND:.0f} messages a second, please.")
