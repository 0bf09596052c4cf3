"""The same feeds for blocking callers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Generic, Self, TypeVar

from crosstape.client.book_feed import BookFeed, BookFeedEvent
from crosstape.client.events import Disconnected, Refused, StreamEvent
from crosstape.client.feed import Feed
from crosstape.client.loop_thread import LoopThread
from crosstape.client.stream import AsyncStream
from crosstape.client.times import Time

E = TypeVar("E")
"""What a feed tells."""


class BlockingFeed(Generic[E]):
    """`with` opens it, `for` gives what is told, `get` waits a limited time for it."""

    def __init__(self, loop: LoopThread, feed: Feed[E]):
        self._loop = loop
        self._feed = feed

    def __enter__(self) -> Self:
        self._loop.run(self._feed.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._loop.run(self._feed.close())

    def __iter__(self) -> Iterator[E | Refused | Disconnected]:
        return self._loop.iterate(self._feed)

    def get(self, seconds: float) -> E | Refused | Disconnected | None:
        """What is told next; None when that is nothing for so long. Raises StopIteration at the end."""
        try:
            return self._loop.run(self._get(seconds))
        except StopAsyncIteration:
            raise StopIteration from None

    async def _get(self, seconds: float) -> E | Refused | Disconnected | None:
        try:
            async with asyncio.timeout(seconds):
                return await anext(self._feed)
        except TimeoutError:
            return None


class Stream(BlockingFeed[StreamEvent]):
    """AsyncStream for blocking callers."""

    def __init__(self, loop: LoopThread, stream: AsyncStream):
        super().__init__(loop, stream)
        self._stream = stream

    def subscribe(self, *channels: str, depth: int | None = None, interval_ms: int | None = None) -> None:
        """Follow these channels too."""
        self._loop.run(self._stream.subscribe(*channels, depth=depth, interval_ms=interval_ms))

    def replay(self, *channels: str, start: Time, end: Time | None = None, speed: float = 1.0) -> None:
        """Tell what happened from `start` on, then what happens now."""
        self._loop.run(self._stream.replay(*channels, start=start, end=end, speed=speed))

    def unsubscribe(self, *channels: str) -> None:
        """Do not follow these channels any more."""
        self._loop.run(self._stream.unsubscribe(*channels))


class BlockingBookFeed(BlockingFeed[BookFeedEvent]):
    """BookFeed for blocking callers."""

    def __init__(self, loop: LoopThread, books: BookFeed):
        super().__init__(loop, books)
        self._books = books

    def subscribe(
        self, exchange: str, symbol: str, *, depth: int | None = None, interval_ms: int | None = None
    ) -> None:
        """Follow a book."""
        self._loop.run(self._books.subscribe(exchange, symbol, depth=depth, interval_ms=interval_ms))

    def unsubscribe(self, exchange: str, symbol: str) -> None:
        """Do not follow it any more."""
        self._loop.run(self._books.unsubscribe(exchange, symbol))
