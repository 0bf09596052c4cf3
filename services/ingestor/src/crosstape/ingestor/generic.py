"""Exchanges without a dialect of their own: their trades through ccxt, which owns the sockets.

No books (nobody could verify them) and no holes (nothing is known of their ids): every outage, and the time in which no
process ran, is fetched from the exchange's history and told to the ledger, with what that history does not reach. No
market waits for it: watching goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence

import structlog

from crosstape.common.errors import ExchangeError
from crosstape.common.market.instrument import Instrument
from crosstape.common.runtime.health import Check
from crosstape.exchanges.answers import set_apart
from crosstape.exchanges.ccxt_generic import LEAST_LOOK_BACK, CcxtExchange, Unanswerable
from crosstape.exchanges.dialect import FeedError, HistoryPage, HistoryQuery, MalformedFrame
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.ingest import publish_coverage
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import Outage
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.unnumbered import Unnumbered

log = structlog.get_logger(__name__)


class _History:
    """The history of one market, as far as it can be compared with what its socket brings."""

    def __init__(self, exchange: CcxtExchange, market: Market):
        self._exchange = exchange
        self._market = market

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        """As the exchange's own; nothing where it would never answer. Raises ExchangeError."""
        try:
            async for page in self._exchange.trade_history(query):
                self._check_names(page)
                yield page
        except Unanswerable as error:
            market = {"exchange": self._exchange.exchange, "symbol": self._market.symbol}
            log.warning("repair_impossible", **market, error=error.message)
            yield HistoryPage([], None, reaches_back=False)

    def _check_names(self, page: HistoryPage) -> None:
        """Raises ExchangeError where `page` should have trades that came."""
        market = self._market
        should_have = market.has_traded and (
            page.trades or time.time_ns() - market.last_trade_received < LEAST_LOOK_BACK
        )
        if should_have and len(market.unseen(page.trades)) == len(page.trades):
            raise ExchangeError("Its history has none of the trades that its socket told: their ids may differ.")


class GenericFeed:
    """Follows one market for as long as it runs; `repair` makes up for outages beside that."""

    def __init__(self, exchange: CcxtExchange, instrument: Instrument, publisher: Publisher):
        self._exchange = exchange
        self._publisher = publisher
        self.market = Market(instrument, is_numbered=False, least_reach=0)
        self.repair = MarketRepair(self.market, _History(exchange, self.market), publisher)
        self._teller = self.repair.teller
        self._began = time.time_ns()

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
        """Publish what comes. While the bus has no room nothing is taken from ccxt, which keeps only its newest trades:
        that is an interruption."""
        market = self.market
        async for trades in self._exchange.watch_trades(market.instrument):
            now = time.time_ns()
            if market.connected_since is None:
                market.connected_since = now
                if market.disconnected_at is not None:
                    self.repair.outage(Outage(market.disconnected_at, now, "disconnect"))
                    market.disconnected_at = None
            market.last_trade_received = now
            holdable, refused = set_apart(trades)
            if refused:
                self._teller.refuse_without_numbers(refused)
            for trade in market.unseen(holdable):
                market.observe(trade)
                self._publisher.trade(trade)
            if not self._publisher.has_room:
                self._interrupted()
                await self._publisher.room()

    def _interrupted(self) -> None:
        """What came after the last trade, or since the beginning, may have been lost: a socket can be dead for long
        before it is noticed."""
        market, now = self.market, time.time_ns()
        if market.connected_since is not None:
            publish_coverage(self._publisher, market, market.last_trade_received)
            market.disconnected_at = market.last_trade_received
            market.connected_since = None
        elif market.disconnected_at is None:
            market.disconnected_at = self._began
        self._teller.still_open(market.disconnected_at, now, "disconnect")

    @property
    def _name(self) -> dict[str, str]:
        return {"exchange": self._exchange.exchange, "symbol": self.market.symbol}


def bus_lost(exchange: str, unnumbered: Unnumbered, reason: str) -> None:
    """The bus may have lost what was sent until now."""
    log.warning("bus_loss", exchange=exchange, reason=reason)
    unnumbered.lost()


def generic_check(feeds: Sequence[GenericFeed]) -> Check:
    """Up when every market has been heard since its last interruption."""
    heard = sum(feed.market.connected_since is not None for feed in feeds)
    return Check(is_up=heard == len(feeds), detail={"heard_markets": heard, "markets": len(feeds)})
