"""Trades without numbers and a short history: what was left out is fetched before the exchange forgets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import LedgerEvent
from crosstape.common.market.trade import Source, TakerSide, Trade
from crosstape.common.testing.builders import make_trade
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.audit import ended_before
from crosstape.ingestor.market import LEAST_REACH, Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair, Outage
from crosstape.ingestor.watermarks import Watermark

INSTRUMENT = Instrument("bybit", "BTCUSDT", "BTC", "USDT")


class Exchange:
    """Its history is its newest `reach` trades."""

    def __init__(self, reach: int) -> None:
        self.trades: list[Trade] = []
        self._reach = reach

    def trade(self) -> Trade:
        number = len(self.trades)
        made = make_trade(exchange="bybit", trade_id=f"uuid-{number}", time=number * 1_000, side=TakerSide.SELL)
        self.trades.append(made)
        return made

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        newest = self.trades[-self._reach :]
        yield HistoryPage(newest, None, any(one.time < query.start for one in newest))


class Bus:
    def __init__(self) -> None:
        self.published: list[Trade] = []
        self.told: list[LedgerEvent] = []

    def trade(self, one: Trade, source: Source) -> None:
        self.published.append(one)

    def ledger(self, event: LedgerEvent) -> None:
        self.told.append(event)


def parts(reach: int) -> tuple[Exchange, Market, Bus, MarketRepair]:
    exchange, market, bus = Exchange(reach), Market(INSTRUMENT, is_numbered=False, now=0), Bus()
    market.connected_since = 0
    return exchange, market, bus, MarketRepair(market, cast(ExchangeRest, exchange), cast(Publisher, bus))


def watermark(newest_time: int, covered_until: int) -> Watermark:
    return Watermark("BTC-USDT", "uuid", newest_time, [], covered_until)


def test_a_process_continues_at_the_last_trade_or_where_connections_before_it_ended() -> None:
    began = 1_000
    assert ended_before(watermark(900, 850), began) == 900
    assert ended_before(watermark(1_200, 850), began) == 850, "a late answer names a trade of this process"
    assert ended_before(watermark(1_200, 1_300), began) == 1_200, "a twin was connected all the time"
    assert ended_before(watermark(1_200, 0), began) == began, "nothing was connected before"


async def test_a_trade_that_was_left_out_is_fetched_before_the_history_forgets_it() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    left_out = exchange.trade()
    while not market.is_soon_out_of_reach:
        market.observe(exchange.trade())
    await repair.audit()
    assert bus.published == [left_out]
    assert not market.is_soon_out_of_reach


async def test_a_history_that_reaches_further_is_asked_less_often() -> None:
    exchange, market, _, repair = parts(1_000)
    for _ in range(1_000):
        market.observe(exchange.trade())
    await repair.audit()
    for _ in range(500):
        market.observe(exchange.trade())
    assert not market.is_soon_out_of_reach
    market.observe(exchange.trade())
    assert market.is_soon_out_of_reach


async def test_what_the_bus_lost_is_published_again_though_it_was_seen() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    seen = [exchange.trade() for _ in range(10)]
    for one in seen:
        market.observe(one)
    repair.outage(Outage(0, 1_000_000, "bus"))
    repairing = asyncio.create_task(repair.run())
    async with asyncio.timeout(10):
        while len(bus.published) < len(seen):
            await asyncio.sleep(0.01)
    repairing.cancel()
    assert bus.published == seen
