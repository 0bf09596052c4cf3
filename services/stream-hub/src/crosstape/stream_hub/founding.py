"""Founding: a market's state begins with what history knows of the day, made one with what the bus brought since."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence

import structlog

from crosstape.common.errors import ServiceUnavailable
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.trade import Trade
from crosstape.stream_hub.flow import DAY, DETAILED_SECONDS, MINUTE
from crosstape.stream_hub.history import History, NotListed
from crosstape.stream_hub.market import MarketState

log = structlog.get_logger(__name__)

AT_ONCE = 4
TOGETHER = 8
"""So many markets of an exchange are asked for in one request: some thousand minutes."""
RETRY_SECONDS = 1.0
RELISTED_SECONDS = 600.0
"""When history is asked again for a market that trades and that it did not know: it reads its lists once an hour."""
HOUR = 3_600


class Founder:
    """Asks history for every market of which trades come; `run` does the work, `ensure` waits for one market.

    `has_every_trade` returns once the hub has every trade that stands in the log now.
    """

    def __init__(self, history: History, has_every_trade: Callable[[], Awaitable[None]]):
        self._history = history
        self._has_every_trade = has_every_trade
        self._waiting: defaultdict[str, deque[MarketState]] = defaultdict(deque)
        self._turns: asyncio.Queue[str] = asyncio.Queue()
        self._founded: dict[MarketState, asyncio.Event] = {}

    @property
    def missing(self) -> int:
        """How many markets still wait for history."""
        return sum(not founded.is_set() for founded in self._founded.values())

    def want(self, market: MarketState) -> None:
        """Found `market` soon."""
        if market not in self._founded:
            self._founded[market] = asyncio.Event()
            self._line_up(market)

    async def ensure(self, market: MarketState, seconds: float = 5.0) -> None:
        """Return once `market` is founded. Raises ServiceUnavailable when that takes longer, or never comes."""
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

    def _line_up(self, market: MarketState) -> None:
        self._waiting[market.exchange].append(market)
        self._turns.put_nowait(market.exchange)

    async def _work(self) -> None:
        while True:
            exchange = await self._turns.get()
            waiting = self._waiting[exchange]
            markets = [waiting.popleft() for _ in range(min(TOGETHER, len(waiting)))]
            if not markets:  # those of this turn were taken with another's
                continue
            await self._try(exchange, markets)

    async def _try(self, exchange: str, markets: Sequence[MarketState]) -> None:
        try:
            await self._found(exchange, markets)
        except NotListed:
            if len(markets) == 1:
                self._give_up(markets[0])
            else:  # which of them is not said
                for market in markets:
                    await self._try(exchange, [market])
        except ServiceUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
            for market in markets:
                self._line_up(market)

    def _give_up(self, market: MarketState) -> None:
        """Whoever wants it again asks again; so do we where trades came of it, as history will come to know it."""
        log.warning("market_not_listed", exchange=market.exchange, symbol=market.symbol)
        del self._founded[market]
        if not market.flow.is_empty:
            asyncio.get_running_loop().call_later(RELISTED_SECONDS, self.want, market)

    async def _found(self, exchange: str, markets: Sequence[MarketState]) -> None:
        """Closed minutes come as history's bars, the others as its trades: whatever is not stored yet is on the bus."""
        known_from = (int(time.time()) - DETAILED_SECONDS) // DAY * DAY
        minutes = await self._history.closed_minutes(exchange, [market.symbol for market in markets], known_from)
        closed = [minutes.get(market.symbol, []) for market in markets]
        trades = [
            await self._trades_since(market, bars[-1].open_time + MINUTE if bars else known_from)
            for market, bars in zip(markets, closed, strict=True)
        ]
        # History may be ahead of us: what it knows and the bus still has to bring would count as told already.
        await self._has_every_trade()
        for market, bars, newer in zip(markets, closed, trades, strict=True):
            market.found(bars, newer, known_from)
            self._founded[market].set()
            log.info("market_founded", exchange=exchange, symbol=market.symbol, minutes=len(bars), trades=len(newer))

    async def _trades_since(self, market: MarketState, second: int) -> list[Trade]:
        start, end = second * NANOSECONDS, (int(time.time()) + HOUR) * NANOSECONDS
        trades: list[Trade] = []
        async with contextlib.aclosing(self._history.trades(market.exchange, market.symbol, start, end)) as pages:
            async for page in pages:
                trades += page
        return trades
