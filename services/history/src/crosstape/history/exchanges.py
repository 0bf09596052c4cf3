"""The exchanges' own REST: market lists and candles, by native dialects, or by ccxt where there is none."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from crosstape.common.errors import ExchangeError, ExchangeNotFound
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import DIALECTS
from crosstape.exchanges.ccxt_generic import CcxtExchange, open_exchange
from crosstape.exchanges.dialect import Klines
from crosstape.exchanges.rest import ExchangeRest

REQUEST_SECONDS = 8.0
"""How long a caller waits for an exchange; then EXCHANGE_ERROR. Less than the gateway waits for us."""
PATIENT_SECONDS = 60.0
"""How long an exchange is waited for where no caller does."""

UNUSED_SECONDS = 7_200.0
"""After so long a client of ccxt, with its whole market list, is closed: anybody may ask for any of its exchanges."""

_EXCHANGE_ID = re.compile(r"[a-z0-9_]{2,32}", re.ASCII)


class Exchanges:
    """Every exchange there is, opened when first asked. Close it when done.

    `origin` is where simulated exchanges answer (then there are only native ones), empty for the real ones.
    """

    def __init__(self, origin: str):
        self._origin = origin
        self._session: aiohttp.ClientSession | None = None
        self._native: dict[str, ExchangeRest] = {}
        self._generic: dict[str, CcxtExchange] = {}
        self._used: dict[str, float] = {}
        self._opening = asyncio.Lock()

    async def markets(self, exchange: str, seconds: float) -> list[Instrument]:
        """The instruments of `exchange`, within `seconds`. Raises ExchangeNotFound, ExchangeError."""
        await self._close_unused()
        async with _in_time(exchange, seconds):
            return await (await self._open(exchange)).markets()

    async def intervals(self, exchange: str) -> Sequence[Interval]:
        """The candle lengths `exchange` offers. Raises ExchangeNotFound."""
        if (native := DIALECTS.get(exchange)) is not None:
            return native.intervals()
        opened = await self._open(exchange)
        return opened.intervals() if isinstance(opened, CcxtExchange) else ()

    def klines_reach(self, exchange: str) -> int | None:
        """How many of its newest candles are all that `exchange` gives; None where it gives more, or nobody knows."""
        native = DIALECTS.get(exchange)
        return None if native is None else native.klines_reach

    async def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> Klines:
        """The candles that open in [start, end) ms. Raises ExchangeNotFound, ExchangeError."""
        async with _in_time(instrument.exchange, REQUEST_SECONDS):
            return await (await self._open(instrument.exchange)).klines(instrument, interval, start, end)

    async def close(self) -> None:
        """Close every connection."""
        for generic in self._generic.values():
            await generic.close()
        if self._session is not None:
            await self._session.close()

    async def _close_unused(self) -> None:
        long_ago = time.monotonic() - UNUSED_SECONDS
        unused = [exchange for exchange in self._generic if self._used[exchange] < long_ago]
        clients = [self._generic.pop(exchange) for exchange in unused]  # all before the first await: others close too
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)

    async def _open(self, exchange: str) -> ExchangeRest | CcxtExchange:
        if (native_client := self._native.get(exchange)) is not None:
            return native_client
        if (generic := self._generic.get(exchange)) is not None:
            self._used[exchange] = time.monotonic()
            return generic
        async with self._opening:
            if (native := DIALECTS.get(exchange)) is not None:
                if self._session is None:
                    self._session = aiohttp.ClientSession()
                rest = ExchangeRest(native, self._origin or None, self._session)
                return self._native.setdefault(exchange, rest)
            if self._origin or not _EXCHANGE_ID.fullmatch(exchange):
                raise ExchangeNotFound("No such exchange. GET /exchanges lists them.")
            generic = await asyncio.to_thread(open_exchange, exchange)
            self._used[exchange] = time.monotonic()
            return self._generic.setdefault(exchange, generic)


@asynccontextmanager
async def _in_time(exchange: str, seconds: float) -> AsyncIterator[None]:
    """However many requests it takes, and whoever makes them: ccxt knows no deadline of ours. Raises ExchangeError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ExchangeError(f"{exchange} did not answer within {seconds:g} s.") from error
