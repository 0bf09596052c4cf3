"""Waiting for a client to read what it is sent: long enough for a slow one, and not for one that does not read."""

from __future__ import annotations

import asyncio
from typing import Protocol

from crosstape.stream_hub.protocol import CloseCode, Closing, TooMany

BACKLOG_BYTES = 256 * 1024
"""What may wait for a client that is given more of the past."""
LONGEST_SECONDS = 60.0
"""How long a client may read nothing of what waits for it."""


class Reader(Protocol):
    """A client's socket: how many bytes wait for it."""

    def backlog(self) -> int: ...


def too_slow() -> Closing:
    """Why a client is closed that does not keep up with the past that it asked for."""
    return Closing(CloseCode.TOO_SLOW, TooMany("You read too slowly to catch up with this channel."))


async def has_read(reader: Reader) -> None:
    """Return, after a turn of the loop at least, once the client has little left to read. Raises Closing."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    least, since = reader.backlog(), loop.time()
    while (left := reader.backlog()) > BACKLOG_BYTES:
        if left < least:
            least, since = left, loop.time()
        elif loop.time() - since > LONGEST_SECONDS:
            raise too_slow()
        await asyncio.sleep(0.01)
