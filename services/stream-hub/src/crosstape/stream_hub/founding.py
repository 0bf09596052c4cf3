"""Founding: a market's state begins with what history knows of the day, made one with what the bus brought since."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from crosstape.common.errors import ServiceUnavailable
from crosstape.common.market.bar import NANOSECONDS, BarStatus, Interval
from crosstape.common.market.trade import Trade
from crosstape.stream_hub.flow import DAY, DETAILED_SECONDS
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState

log = structlog.get_logger(__name__)

AT_ONCE = 4
RETRY_SECONDS = 1.0
HOUR = 3_600


class Founder:
    """Asks history for every market of which trades come; `run` does the work, `ensure` waits for one market.

    `has_every_trade` returns once the hub has every trade that stands in the log now.
    """

    def __init__(self, history: History, has_every_trade: Callable[[], Awaitable[None]]):
        self._history = history
        self._has_every_trade = has_every_trade
        self._wanted: asyncio.Queue[MarketState] = asyncio.Queue()
        self._founded: dict[MarketState, asyncio.Event] = {}

    @property
    def missing(self) -> int:
        """How many markets still wait for history."""
        return sum(not founded.is_set() for founded in self._founded.values())

    def want(self, market: MarketState) -> None:
        """Found `market` soon."""
        if market not in self._founded:
            self._founded[market] = asyncio.Event()
            self._wanted.put_nowait(market)

    async def ensure(self, market: MarketState, seconds: float = 5.0) -> None:
        """Return once `market` is founded. Raises ServiceUnavailable when that takes longer."""
        self.want(market)
        try:
            async with asyncio.timeout(seconds):
                await self._founded[market].wait()
        except TimeoutError:
            raise ServiceUnavailable("The market's history is not known yet: try again in a moment.") from None

    async def run(self, stop: asyncio.Event) -> None:
        """Found what is wanted until `stop`."""
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work()) for _ in range(AT_ONCE)]
            await stop.wait()
            for worker in workers:
                worker.cancel()

    async def _work(self) -> None:
        while True:
            market = await self._wanted.get()
            try:
                await self._found(market)
            except ServiceUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
                self._wanted.put_nowait(market)
            else:
                self._founded[market].set()

    async def _found(self, market: MarketState) -> None:
        """Closed minutes come as history's bars, the others as its trades: whatever is not stored yet is on the bus."""
        now = int(time.time())
        known_from = (now - DETAILED_SECONDS) // DAY * DAY
        exchange, symbol = market.exchange, market.symbol
        bars = await self._history.bars(exchange, symbol, Interval.M1, known_from, now + HOUR)
        closed = [bar for bar in bars if bar.status is not BarStatus.PROVISIONAL]
        until = closed[-1].open_time + 60 if closed else known_from
        trades: list[Trade] = []
        async with contextlib.aclosing(
            self._history.trades(exchange, symbol, until * NANOSECONDS, (now + HOUR) * NANOSECONDS)
        ) as pages:
            async for page in pages:
                trades += page
        # History may be ahead of us: what it knows and the bus still has to bring would count as told already.
        await self._has_every_trade()
        market.found(closed, trades, known_from)
        log.info("market_founded", exchange=exchange, symbol=symbol, minutes=len(closed), trades=len(trades))
