"""HTTP with an exchange: the only I/O of the native dialects.

Every request keeps the exchange's rate limit, honours its bans, is repeated while the failure may pass, and ends in
what the dialect read or in ExchangeError.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import msgspec

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import can_be_symbol
from crosstape.exchanges.answers import checked_levels, checked_page
from crosstape.exchanges.dialect import (
    Dialect,
    HistoryPage,
    HistoryQuery,
    HttpRequest,
    Kline,
    Klines,
    MalformedFrame,
    Rejected,
)
from crosstape.exchanges.rate_limit import TokenBucket

T = TypeVar("T")

LONGEST_BODY = 64 << 20
"""Bytes. The longest answer is Binance's list of markets, about 15 MiB."""

ATTEMPT_SECONDS = 15.0
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 15.0
LONGEST_REFUSAL = 3 * 86_400.0

_NAME = re.compile(r"[^\s/:\\-]{1,32}")
_UNPRINTABLE = re.compile(r"[^ -~]+")
_LONGEST_MESSAGE = 200


def resolve(dialect: Dialect, address: str, origin: str | None) -> str:
    """The URL of one of the dialect's addresses: the real one, or where `origin` (`http://host:port`) mounts it."""
    real = dialect.addresses[address]
    if origin is None:
        return real
    mounted = f"{origin.rstrip('/')}/{dialect.exchange}/{address}"
    return mounted.replace("http", "ws", 1) if real.startswith("ws") else mounted


class ExchangeRest:
    """One exchange's REST. Every method raises ExchangeError for what stays wrong until `deadline` (s) is over.

    `now` is wall time in ns.
    """

    def __init__(
        self,
        dialect: Dialect,
        origin: str | None,
        session: aiohttp.ClientSession,
        *,
        deadline: float = 60.0,
        now: Callable[[], int] = time.time_ns,
    ):
        self._dialect = dialect
        self._origin = origin
        self._session = session
        self._deadline = deadline
        self._now = now
        self._buckets = {address: TokenBucket(limit) for address, limit in dialect.rate_limits.items()}
        self._lines = {address: asyncio.Lock() for address in dialect.rate_limits}
        self._refusals: dict[str, str] = {}

    async def markets(self) -> list[Instrument]:
        """Every tradable instrument whose names can be part of a symbol."""
        instruments = await self._ask(self._dialect.decode_markets, *self._dialect.markets())
        return [
            i for i in instruments if _NAME.fullmatch(i.base) and _NAME.fullmatch(i.quote) and can_be_symbol(i.symbol)
        ]

    async def body(self, request: HttpRequest) -> bytes:
        """The answer to `request` as it is sent."""
        return await self._ask(lambda bodies: bodies[0], request)

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        """The pages of `query`, until the exchange has no more or the query is covered."""
        while True:
            page = await self._ask(self._history_reader(query), self._dialect.history(query))
            yield checked_page(page)
            if page.cursor is None:
                return
            if page.cursor == query.cursor:
                raise ExchangeError(f"The trade history of {self._dialect.exchange} does not advance.")
            query = msgspec.structs.replace(query, cursor=page.cursor)

    def _history_reader(self, query: HistoryQuery) -> Callable[[Sequence[bytes]], HistoryPage]:
        return lambda bodies: self._dialect.decode_history(query, bodies[0], self._now())

    async def book_snapshot(self, instrument: Instrument) -> BookUpdate:
        """The book of `instrument`, where the exchange's socket does not send one."""
        request = self._dialect.book_snapshot(instrument)
        if request is None:
            raise ExchangeError(f"{self._dialect.exchange} sends its book snapshots on the socket.")
        return await self._ask(
            lambda bodies: checked_levels(self._dialect.decode_book_snapshot(instrument, bodies[0], self._now())),
            request,
        )

    async def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> Klines:
        """The candles that open in [start, end) ms, the still open one included."""
        if interval not in self._dialect.intervals():
            raise ExchangeError(f"{self._dialect.exchange} offers no candles of {interval}.")
        per_request = self._dialect.klines_per_request
        window = max(end - start, 1) if per_request is None else per_request * interval.seconds * 1_000
        found: dict[int, Kline] = {}
        for first in range(start, end, window):
            page = await self._ask(
                lambda bodies: self._dialect.decode_klines(instrument, bodies[0]),
                self._dialect.klines(instrument, interval, first, min(first + window, end)),
            )
            found |= {kline.open_time: kline for kline in page}
        rows = [found[open_time] for open_time in sorted(found) if start <= open_time < end]
        return Klines(rows, self._complete_from(found.keys(), interval, start))

    def _complete_from(self, opened: Collection[int], interval: Interval, start: int) -> int:
        """From when on (ms) none is missing: a young market has fewer candles than the exchange would give."""
        reach = self._dialect.klines_reach
        if reach is None or len(opened) < reach:
            return start
        oldest = min(opened)
        return oldest if start <= oldest - interval.seconds * 1_000 else start

    async def _ask(self, read: Callable[[Sequence[bytes]], T], *requests: HttpRequest) -> T:
        """What `read` makes of the answers; asked again, with full jitter, while that may help."""
        end = time.monotonic() + self._deadline
        for attempt in itertools.count():
            try:
                return read([await self._fetch(request) for request in requests])
            except MalformedFrame as error:
                raise ExchangeError(f"{self._dialect.exchange} sent an answer that cannot be read: {error}") from error
            except Rejected as error:
                if error.is_refusal:
                    for request in requests:
                        self._refused(request.address, self._dialect.refused_seconds[429], str(error))
                pause = random.uniform(0, min(FIRST_BACKOFF * 2**attempt, LONGEST_BACKOFF))
                if not error.is_transient or time.monotonic() + pause > end:
                    raise ExchangeError(f"{self._dialect.exchange} failed: {error}") from error
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _fetch(self, request: HttpRequest) -> bytes:
        """The body of one answer of status 200. Raises Rejected for everything else."""
        await self._take_turn(request)
        url = resolve(self._dialect, request.address, self._origin) + request.path
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)
        try:
            async with self._session.get(
                url, params=request.params, timeout=timeout, allow_redirects=False
            ) as response:
                body = await _bounded_body(response)
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Rejected("no answer", is_transient=True) from error
        if status == HTTPStatus.OK:
            return body
        said = f"status {status}: {_UNPRINTABLE.sub(' ', body[:_LONGEST_MESSAGE].decode('ascii', 'replace'))}"
        refused = self._dialect.refused_seconds.get(status)
        if refused is not None:
            self._refused(request.address, _refused_for(refused, retry_after), said)
        raise Rejected(said, is_transient=refused is not None or status >= 500)

    def _refused(self, address: str, seconds: float, said: str) -> None:
        self._buckets[address].block(seconds, time.monotonic())
        self._refusals[address] = said

    async def _take_turn(self, request: HttpRequest) -> None:
        """Wait until the request may be sent. Raises Rejected where the exchange refuses us for too long.

        The first in line waits for the bucket, the others for it: no refusal changes their order.
        """
        bucket = self._buckets[request.address]
        async with self._lines[request.address]:
            while (wait := bucket.take(request.weight, time.monotonic())) > 0:
                if (refused := bucket.blocked_for(time.monotonic())) > self._deadline:
                    raise Rejected(f"it refuses our requests for {refused:.0f} s: {self._refusals[request.address]}")
                await asyncio.sleep(wait)


def _refused_for(unsaid: float, retry_after: str) -> float:
    """How long (s) a refusal lasts: as long as its header says, or `unsaid`."""
    is_number = retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 8
    return min(float(retry_after), LONGEST_REFUSAL) if is_number else unsaid


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise Rejected(f"an answer longer than {LONGEST_BODY} bytes")
    return bytes(body)
