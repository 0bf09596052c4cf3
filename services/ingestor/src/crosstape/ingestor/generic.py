"""Exchanges without a dialect of their own: their trades through ccxt, which owns the sockets.

No books (nobody could verify them) and no holes (nothing is known of their ids): every outage, and the time in which no
process ran, is fetched from the exchange's history and told to the ledger, with what that history does not reach. No
market waits for it: watching goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import structlog

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import GapState
from crosstape.common.runtime.health import Check
from crosstape.exchanges.answers import set_apart
from crosstape.exchanges.ccxt_generic import CcxtExchange, TradesSince, Unanswerable
from crosstape.exchanges.dialect import FeedError, MalformedFrame
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.ingest import publish_coverage
from crosstape.ingestor.intervals import HISTORY_LAG, OVERLAP, Outage
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.telling import Teller
from crosstape.ingestor.watermarks import Tape

log = structlog.get_logger(__name__)


class GenericFeed:
    """Follows one market for as long as it runs, and makes up for outages beside that."""

    def __init__(self, exchange: CcxtExchange, instrument: Instrument, publisher: Publisher):
        self._exchange = exchange
        self._publisher = publisher
        self.market = Market(instrument, is_numbered=False)
        self._teller = Teller(self.market, publisher, time.time_ns)
        self._outages: asyncio.Queue[Outage] = asyncio.Queue()

    async def run(self) -> None:
        """Watch, again after every interruption, until cancelled."""
        failures = 0
        while True:
            try:
                await self._watch()
            except (FeedError, MalformedFrame) as error:
                failures = 0 if self.market.connected_since else failures + 1
                self._interrupted()
                log.warning("feed_interrupted", **self._name, error=str(error))
            await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))

    async def _watch(self) -> None:
        market = self.market
        async for trades in self._exchange.watch_trades(market.instrument):
            now = time.time_ns()
            if market.connected_since is None:
                market.connected_since = now
                if market.disconnected_at is not None:
                    self.outage(Outage(market.disconnected_at, now, "disconnect"))
                    market.disconnected_at = None
            market.last_trade_received = now
            holdable, refused = set_apart(trades)
            if refused:
                self._teller.refuse_without_numbers(refused)
            for trade in market.unseen(holdable):
                market.observe(trade)
                self._publisher.trade(trade)

    def _interrupted(self) -> None:
        """What came after the last trade may have been lost: a socket can be dead for long before it is noticed."""
        market, now = self.market, time.time_ns()
        if market.connected_since is not None:
            publish_coverage(self._publisher, market, market.last_trade_received)
            market.disconnected_at = market.last_trade_received
            market.connected_since = None
            self._teller.interval(market.disconnected_at, now, "disconnect", GapState.OPEN)

    def outage(self, outage: Outage) -> None:
        """Make up for `outage` soon; in the ledger it is open from now on."""
        self._teller.interval(outage.start, outage.end, outage.cause, GapState.OPEN)
        self._outages.put_nowait(outage)

    async def repair(self) -> None:
        """Make up for outages, one after the other, until cancelled; one that fails is behind the others from then on,
        for as long as it takes."""
        failures = 0
        while True:
            outage = await self._outages.get()
            try:
                await self._make_up(outage)
            except ExchangeError as error:
                failures += 1
                log.warning("repair_delayed", **self._name, error=error.message)
                self._outages.put_nowait(outage)
                await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))
            else:
                failures = 0

    async def _make_up(self, outage: Outage) -> None:
        """Publish what the exchange's history holds since `outage` began, and tell how far that reaches.

        Raises ExchangeError.
        """
        market, start, end = self.market, outage.start, outage.end
        await asyncio.sleep(max(0, end + HISTORY_LAG - time.time_ns()) / NANOSECONDS)
        try:
            held = await self._exchange.trades_since(market.instrument, start - OVERLAP)
        except Unanswerable as error:
            log.warning("repair_impossible", **self._name, error=error.message)
            held = TradesSince([], end)
        missed = market.unseen(held.trades)
        if held.trades and market.has_traded and len(missed) == len(held.trades):
            raise ExchangeError("Its history has none of the trades that its socket told: their ids may differ.")
        self._teller.refuse_without_numbers([trade for trade in held.refused if trade.time >= start - OVERLAP])
        missed = sorted((trade for trade in missed if trade.time >= start - OVERLAP), key=lambda trade: trade.time)
        for trade in missed:
            self._teller.publish(trade, outage.cause)
        reached = min(max(held.reached, start), end)
        if reached > start:
            self._teller.interval(start, reached, outage.cause, GapState.UNFILLABLE)
        if reached < end:
            self._teller.interval(reached, end, outage.cause, GapState.REPAIRED, len(missed))
        self._teller.vouch(start, end)

    @property
    def _name(self) -> dict[str, str]:
        return {"exchange": self._exchange.exchange, "symbol": self.market.symbol}


async def resume(feeds: Sequence[GenericFeed], tape: Tape) -> None:
    """Have every feed make up for the time that nobody vouched for before this process."""
    uncovered = (await tape.wait()).uncovered
    for feed in feeds:
        for start, end in uncovered.get(feed.market.symbol, ()):
            feed.outage(Outage(start, end, "restart"))


def generic_check(feeds: Sequence[GenericFeed]) -> Check:
    """Up when every market has been heard since its last interruption."""
    heard = sum(feed.market.connected_since is not None for feed in feeds)
    return Check(is_up=heard == len(feeds), detail={"heard_markets": heard, "markets": len(feeds)})
