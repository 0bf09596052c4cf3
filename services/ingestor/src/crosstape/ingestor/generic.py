"""Exchanges without a dialect of their own: their trades through ccxt, which owns the sockets.

No books (nobody could verify them) and no holes (nothing is known of their ids): every outage, and the time in which no
process ran, is fetched from the exchange's history and told to the ledger.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import structlog

from crosstape.common.errors import ExchangeError
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import GapState
from crosstape.common.runtime.health import Check
from crosstape.exchanges.ccxt_generic import CcxtExchange
from crosstape.exchanges.dialect import FeedError, MalformedFrame
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.ingest import publish_coverage
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.telling import Teller
from crosstape.ingestor.watermarks import Tape

log = structlog.get_logger(__name__)


class GenericFeed:
    """Follows one market for as long as it runs."""

    def __init__(self, exchange: CcxtExchange, instrument: Instrument, publisher: Publisher):
        self._exchange = exchange
        self._publisher = publisher
        self.market = Market(instrument, is_numbered=False)
        self._teller = Teller(self.market, publisher, time.time_ns)

    async def run(self) -> None:
        """Watch, and after every interruption catch up first, until cancelled."""
        failures = 0
        while True:
            try:
                await self._catch_up()
                await self._watch()
            except (FeedError, MalformedFrame, ExchangeError) as error:
                failures = 0 if self.market.connected_since else failures + 1
                self._interrupted()
                log.warning(
                    "feed_interrupted",
                    exchange=self._exchange.exchange,
                    symbol=self.market.symbol,
                    error=str(error),
                )
            await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))

    async def _watch(self) -> None:
        async for trades in self._exchange.watch_trades(self.market.instrument):
            now = time.time_ns()
            self.market.connected_since = self.market.connected_since or now
            self.market.last_trade_received = now
            for trade in self.market.unseen(trades):
                self.market.observe(trade)
                self._publisher.trade(trade)

    def _interrupted(self) -> None:
        market, now = self.market, time.time_ns()
        if market.connected_since is not None:
            publish_coverage(self._publisher, market, now)
            market.connected_since = None
            market.disconnected_at = now
            self._teller.interval(now, now, "disconnect", GapState.OPEN)

    async def _catch_up(self) -> None:
        """Publish what was traded since the interruption. Raises ExchangeError."""
        if (since := self.market.disconnected_at) is not None:
            await self._make_up(since, time.time_ns(), "disconnect")
            self.market.disconnected_at = None

    async def resume(self, intervals: Sequence[tuple[int, int]]) -> None:
        """Publish what was traded in `intervals` (ns), for as long as it takes."""
        failures, left = 0, list(intervals)
        while left:
            try:
                await self._make_up(*left[0], "restart")
            except ExchangeError as error:
                failures += 1
                market = {"exchange": self._exchange.exchange, "symbol": self.market.symbol}
                log.warning("repair_delayed", **market, error=error.message)
                await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))
            else:
                del left[0]

    async def _make_up(self, since: int, until: int, cause: str) -> None:
        start, published = since, 0
        while start < until:
            page = await self._exchange.trades_since(self.market.instrument, start)
            missed = self.market.unseen(page)
            for trade in missed:
                self._teller.publish(trade, cause)
            published += len(missed)
            newest = max((trade.time for trade in page), default=until)
            start = until if newest <= start else newest
        self._teller.interval(since, until, cause, GapState.REPAIRED, published)
        self._teller.vouch(since, until)


async def resume(feeds: Sequence[GenericFeed], tape: Tape) -> None:
    """Make up for the time that nobody vouched for before this process, market by market."""
    uncovered = (await tape.wait()).uncovered
    for feed in feeds:
        await feed.resume(uncovered.get(feed.market.symbol, ()))


def generic_check(feeds: Sequence[GenericFeed]) -> Check:
    """Up when every market has been heard since its last interruption."""
    heard = sum(feed.market.connected_since is not None for feed in feeds)
    return Check(is_up=heard == len(feeds), detail={"heard_markets": heard, "markets": len(feeds)})
