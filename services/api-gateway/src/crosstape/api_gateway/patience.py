"""How long a connection waits for its client: for the head of a request, or until answers are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from crosstape.api_gateway.untaken import untaken_bytes
from crosstape.api_gateway.watchdog import Watchdog

KEEP_ALIVE_SECONDS = 30.0
LINGER_SECONDS = 2.0
"""How long what a client still sends is read and dropped after its answer, so that it can read the answer."""
_LEAST_TAKEN = 16 * 1024
"""Bytes that a client takes of what waits for it, while it is waited for, or it is late."""


class Patience:
    """Calls `late` when what is waited for did not come in time; of what was waited for before it says nothing."""

    def __init__(self, transport: asyncio.Transport, late: Callable[[], None]):
        self._transport = transport
        self._late = late
        self._watchdog = Watchdog(self._look)
        self._untaken: float = 0
        self._seconds = 0.0

    def await_head(self, seconds: float) -> None:
        """The head of a request comes in `seconds`."""
        self._untaken = 0
        self._watchdog.wait(seconds)

    def await_request(self) -> None:
        """Another request comes, or what was written a moment ago is taken, which is all still here: how much of it is
        looked at when it counts."""
        self._untaken, self._seconds = inf, KEEP_ALIVE_SECONDS
        self._watchdog.wait(KEEP_ALIVE_SECONDS)

    def await_reader(self, seconds: float, then: float | None = None) -> None:
        """The client takes `_LEAST_TAKEN` bytes in `seconds`, and as much in each `then` (`seconds` if nothing else)
        after it."""
        self._seconds = then or seconds
        self._untaken = untaken_bytes(self._transport)
        self._watchdog.wait(seconds)

    def await_last(self) -> None:
        """All that was written is taken; the connection closes then."""
        self.await_reader(KEEP_ALIVE_SECONDS)

    def linger(self) -> None:
        """The client takes its answer, and leaves: it still sends what nobody reads."""
        self.await_reader(LINGER_SECONDS, KEEP_ALIVE_SECONDS)

    def rest(self) -> None:
        """Nothing is waited for."""
        self._watchdog.rest()

    def stop(self) -> None:
        """For good."""
        self._watchdog.stop()

    def _look(self) -> None:
        if 0 < untaken_bytes(self._transport) <= self._untaken - _LEAST_TAKEN:
            self.await_reader(self._seconds)  # a slow reader, but one who reads
        else:
            self._late()
