"""Replay: history through the same protocol at a chosen speed, then live."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from heapq import heapify, heappop, heapreplace
from typing import Protocol

from crosstape.common.market.bar import NANOSECONDS
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.history import PAGE
from crosstape.stream_hub.reading import Reader, has_read
from crosstape.stream_hub.replay_sources import OVERLAP_SECONDS, Item, Make, Source
from crosstape.stream_hub.span import Span

NEAR_SECONDS = 3.0
"""This close to the present, a replay asks history once more and goes live."""
AT_ONCE = 200
"""Messages between two looks at how much the client has still to read."""
LEAST_ROWS = 20
MOST_ROWS = 2_000
"""Of one page: reading it takes some milliseconds, in which no trade is sent to anybody."""


def rows_of_each(sources: int) -> int:
    """How many rows of history each of so many sources may hold: all of them about what one page can have."""
    return min(MOST_ROWS, max(LEAST_ROWS, PAGE // max(1, sources)))


async def merged(sources: Sequence[Source], start: int, end: int) -> AsyncGenerator[Item, None]:
    """The items of all sources by time; those of one time in the order of the sources."""
    rows = rows_of_each(len(sources))
    async with contextlib.AsyncExitStack() as stack:
        feeds = [
            await stack.enter_async_context(contextlib.aclosing(source.items(start, end, rows))) for source in sources
        ]
        heads: list[tuple[int, int, Make]] = []
        for place, feed in enumerate(feeds):
            if (head := await anext(feed, None)) is not None:
                heads.append((head[0], place, head[1]))
        heapify(heads)
        while heads:
            moment, place, make = heads[0]
            yield moment, make
            following = await anext(feeds[place], None)
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (following[0], place, following[1]))


class Listener(Reader, Protocol):
    """Who gets the replay."""

    def send(self, build: Build, /) -> None: ...


async def replay(sources: Sequence[Source], span: Span, listener: Listener) -> None:
    """Send everything of `span` at its pace; return at its end, or as near to the present as history is.

    Raises ServiceUnavailable, and Closing when the client does not read.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    start = span.start
    sent = 0
    while True:
        now = time.time_ns()
        end = now if span.end is None else span.end
        async with contextlib.aclosing(merged(sources, start, end)) as items:
            async for moment, make in items:
                sent += 1
                wait = began + (moment - span.start) / span.speed / NANOSECONDS - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                if wait > 0 or sent % AT_ONCE == 0:
                    await has_read(listener)
                if (build := make()) is not None:
                    listener.send(build)
        due = began + (end - span.start) / span.speed / NANOSECONDS - loop.time()
        if span.end is not None:
            if due > 0:
                await asyncio.sleep(due)
            return
        if time.time_ns() - now <= NEAR_SECONDS * NANOSECONDS:
            return
        start = max(span.start, end - OVERLAP_SECONDS * NANOSECONDS)
