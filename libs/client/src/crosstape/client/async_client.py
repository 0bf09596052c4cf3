"""The asynchronous client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from crosstape.client.bars import Interval
from crosstape.client.book_feed import BookFeed
from crosstape.client.calls import Call, Page, Paged, RawAnswer
from crosstape.client.cvd import CvdFeed, cvd_feed
from crosstape.client.endpoints import Endpoints
from crosstape.client.rows import AsyncRows
from crosstape.client.stream import AsyncStream
from crosstape.client.times import Time
from crosstape.client.transport import Transport

T = TypeVar("T")
PageT = TypeVar("PageT", bound=Page[Any])
Row = TypeVar("Row")

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = 30.0


class AsyncClient(Endpoints):
    """A platform's REST routes as coroutines, and its streams. Use it in `async with`, in one event loop.

    The credential is a `token` (JWT), an `api_key`, or what `login` gives; without one the caller is anonymous.
    `timeout` is the longest silence of an answer in seconds; `headers` go with every request.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        headers: Mapping[str, str] | None = None,
    ):
        """Raises ValueError for two credentials."""
        if token and api_key:
            raise ValueError("Give a token or an API key, not both.")
        self._transport = Transport(base_url, token or api_key, timeout, headers or {})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def call(self, call: Call[T], /) -> T:
        """Send a call that a route's function made. Raises ApiError, ConnectionFailed, UnexpectedAnswer."""
        return await self._transport.call(call)

    async def send(self, method: str, target: str, body: bytes | None = None) -> RawAnswer:
        """Send any request to `target` (path and query), once, and return what comes. Raises ConnectionFailed."""
        return await self._transport.send(method, target, body)

    def rows(self, paged: Paged[PageT, Row], /) -> AsyncRows[PageT, Row]:
        """The rows of a list that comes in pages; nothing is sent until they are read."""
        return AsyncRows(self._transport, paged)

    def stream(self, *, packed: bool = False) -> AsyncStream:
        """Many channels on one socket; `async with` opens it. `packed`: MessagePack instead of JSON."""
        return AsyncStream(self._transport, packed=packed)

    def books(self, *, packed: bool = False) -> BookFeed:
        """Live books of one exchange or of all; `async with` opens it."""
        return BookFeed(self._transport, packed=packed)

    def cvd(
        self,
        exchange: str,
        symbol: str,
        *,
        interval: Interval = "1m",
        anchor: Time = "utc_day",
        packed: bool = False,
    ) -> CvdFeed:
        """Ticks with the running volume delta since `anchor` (`utc_day`, `connect` or a time), and closed bars."""
        return cvd_feed(self._transport, exchange, symbol, interval=interval, anchor=anchor, packed=packed)
