"""The blocking client: the asynchronous one, in a thread of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from crosstape.client.async_client import DEFAULT_TIMEOUT, DEFAULT_URL, AsyncClient
from crosstape.client.bars import Interval
from crosstape.client.blocking_feed import BlockingBookFeed, BlockingFeed, Stream
from crosstape.client.blocking_rows import Rows
from crosstape.client.calls import Call, Page, Paged, RawAnswer
from crosstape.client.cvd import CvdEvent
from crosstape.client.endpoints import Endpoints
from crosstape.client.loop_thread import LoopThread
from crosstape.client.times import Time

T = TypeVar("T")
PageT = TypeVar("PageT", bound=Page[Any])
Row = TypeVar("Row")


class Client(Endpoints):
    """What AsyncClient can do, for code without an event loop: scripts, notebooks, threads. Use it in `with`."""

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
        self._client = AsyncClient(base_url, token=token, api_key=api_key, timeout=timeout, headers=headers)
        self._loop = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and end the thread."""
        self._loop.close(self._client.close())

    def call(self, call: Call[T], /) -> T:
        """Send a call that a route's function made."""
        return self._loop.run(self._client.call(call))

    def send(self, method: str, target: str, body: bytes | None = None) -> RawAnswer:
        """Send any request to `target` (path and query), once, and return what comes. Raises ConnectionFailed."""
        return self._loop.run(self._client.send(method, target, body))

    def rows(self, paged: Paged[PageT, Row], /) -> Rows[PageT, Row]:
        """The rows of a list that comes in pages; nothing is sent until they are read."""
        return Rows(self._loop, self._client.rows(paged))

    def stream(self, *, packed: bool = False) -> Stream:
        """Many channels on one socket; `with` opens it. `packed`: MessagePack instead of JSON."""
        return Stream(self._loop, self._client.stream(packed=packed))

    def books(self, *, packed: bool = False) -> BlockingBookFeed:
        """Live books of one exchange or of all; `with` opens it."""
        return BlockingBookFeed(self._loop, self._client.books(packed=packed))

    def cvd(
        self,
        exchange: str,
        symbol: str,
        *,
        interval: Interval = "1m",
        anchor: Time = "utc_day",
        packed: bool = False,
    ) -> BlockingFeed[CvdEvent]:
        """Ticks with the running volume delta since `anchor` (`utc_day`, `connect` or a time), and closed bars."""
        feed = self._client.cvd(exchange, symbol, interval=interval, anchor=anchor, packed=packed)
        return BlockingFeed(self._loop, feed)
