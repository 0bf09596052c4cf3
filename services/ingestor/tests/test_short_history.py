"""Trades without numbers and a short history: what was left out is fetched before the exchange forgets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.common.testing.builders import make_trade
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery, Subscription
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.audit import Auditor
from crosstape.ingestor.feed import Feed
from crosstape.ingestor.ingest import TradeHandler
from crosstape.ingestor.market import LEAST_REACH, Market
from crosstape.ingestor.outages import HISTORY_LAG, OVERLAP, Outage
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.watermarks import StoredTape
from services.ingestor.tests.harness import Bus

INSTRUMENT = Instrument("bybit", "BTCUSDT", "BTC", "USDT")
NOW = 10 * HISTORY_LAG


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosstape.ingestor.repair.REORDER_SECONDS", 0)


class Exchange:
    """Its history is its newest `reach` trades, and those that no tape can hold."""

    def __init__(self, reach: int) -> None:
        self.trades: list[Trade] = []
        self.refused: list[Trade] = []
        self._reach = reach

    def trade(self, at: int | None = None) -> Trade:
        number = len(self.trades)
        time = number * 1_000 if at is None else at
        made = make_trade(exchange="bybit", trade_id=f"uuid-{number}", time=time, side=TakerSide.SELL)
        self.trades.append(made)
        return made

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        newest = self.trades[-self._reach :]
        yield HistoryPage(newest, None, any(one.time < query.start for one in newest), self.refused)


def parts(reach: int, now: int = NOW) -> tuple[Exchange, Market, Bus, MarketRepair]:
    exchange, market, bus = Exchange(reach), Market(INSTRUMENT, is_numbered=False), Bus()
    market.connected_since = 0
    repair = MarketRepair(market, cast(ExchangeRest, exchange), cast(Publisher, bus), clock=lambda: now)
    return exchange, market, bus, repair


async def repaired(repair: MarketRepair, outage: Outage, is_done: Callable[[], bool]) -> None:
    repair.outage(outage)
    repairing = asyncio.create_task(repair.run())
    async with asyncio.timeout(10):
        while not is_done():
            await asyncio.sleep(0)
    repairing.cancel()


def coverage(start: int, end: int) -> Coverage:
    return Coverage("bybit", "BTC-USDT", start, end)


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
    await repaired(repair, Outage(0, 1_000_000, "bus"), lambda: len(bus.published) == len(seen))
    assert bus.published == seen


async def test_only_what_was_compared_is_vouched_for() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    market.observe(exchange.trade())
    market.connected_since = 1_000
    await repair.audit()
    assert bus.told == [coverage(1_000, NOW - HISTORY_LAG)]
    assert market.compared_until == NOW - HISTORY_LAG


async def test_what_a_repair_has_yet_to_fetch_is_not_vouched_for() -> None:
    _, market, bus, repair = parts(LEAST_REACH)
    repair.outage(Outage(1_000, 2_000, "malformed"))
    bus.told.clear()
    await repair.audit()
    assert bus.told == []
    assert market.compared_until == 0


async def test_what_the_history_does_not_reach_is_named() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    made = [exchange.trade() for _ in range(LEAST_REACH + 20)]
    await repaired(repair, Outage(0, 1_000_000, "restart"), lambda: coverage(0, 1_000_000) in bus.told)
    gaps = [(gap.start, gap.end, gap.state) for gap in bus.told if isinstance(gap, Gap)]
    assert gaps == [
        (0, 1_000_000, GapState.OPEN),
        (0, made[20].time, GapState.UNFILLABLE),
        (made[20].time, 1_000_000, GapState.REPAIRED),
    ]
    assert bus.published == made[20:]
    assert market.compared_until == 1_000_000


async def test_a_burst_longer_than_the_history_is_named_though_the_connection_held() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    made = [exchange.trade() for _ in range(LEAST_REACH + 20)]
    for one in made:
        market.observe(one)
    await repair.audit()
    gap, vouched = bus.told
    assert isinstance(gap, Gap)
    assert (gap.start, gap.end, gap.cause, gap.state) == (0, made[20].time, "unverified", GapState.UNFILLABLE)
    assert vouched == coverage(0, NOW - HISTORY_LAG)


async def test_a_market_that_had_only_few_trades_is_compared_whole() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    for _ in range(LEAST_REACH - 1):
        market.observe(exchange.trade())
    await repair.audit()
    assert bus.told == [coverage(0, NOW - HISTORY_LAG)]


async def test_histories_that_overlap_leave_nothing_unverified_however_busy_the_market() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    for _ in range(10):
        for _ in range(LEAST_REACH - 1):
            market.observe(exchange.trade())
        await repair.audit()
        market.compared_until = exchange.trades[0].time  # long ago: time alone would call it out of reach
    assert not [gap for gap in bus.told if isinstance(gap, Gap)]


@pytest.mark.parametrize(("behind", "is_unverified"), [(LEAST_REACH - 10, False), (LEAST_REACH + 10, True)])
async def test_a_history_that_overlaps_the_repair_before_it_leaves_nothing_unverified(
    *, behind: int, is_unverified: bool
) -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    outage = Outage(0, exchange.trade(at=1_000).time, "disconnect")
    for number in range(behind):
        market.observe(exchange.trade(at=2_000 + number))
    await repaired(repair, outage, lambda: coverage(0, 1_000) in bus.told)
    for number in range(LEAST_REACH - 1):
        market.observe(exchange.trade(at=3_000 + number))
    await repair.audit()
    causes = [gap.cause for gap in bus.told if isinstance(gap, Gap) and gap.state is GapState.UNFILLABLE]
    assert ("unverified" in causes) is is_unverified


async def test_what_the_socket_may_yet_bring_is_not_missed_and_is_once_it_should_have() -> None:
    now = NOW
    exchange, market, bus = Exchange(LEAST_REACH), Market(INSTRUMENT, is_numbered=False), Bus()
    market.connected_since = 0
    repair = MarketRepair(market, cast(ExchangeRest, exchange), cast(Publisher, bus), clock=lambda: now)
    young, brought = exchange.trade(at=NOW), exchange.trade(at=NOW)
    await repair.audit()
    assert bus.published == []
    market.observe(brought)
    now += 2 * HISTORY_LAG
    exchange.trades.clear()  # it has left the history meanwhile
    await repair.audit()
    assert bus.published == [young]


async def test_a_trade_that_came_late_to_the_history_is_missed_though_its_time_was_compared() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    await repair.audit()
    market.observe(exchange.trade(at=market.compared_until - OVERLAP))
    late = exchange.trade(at=market.compared_until - OVERLAP)
    await repair.audit()
    assert bus.published == [late]


async def test_what_was_before_the_first_connection_is_not_missed() -> None:
    exchange, market, bus, repair = parts(LEAST_REACH)
    market.connected_since = market.compared_until = NOW - HISTORY_LAG
    exchange.trade(at=market.compared_until - 1)
    for _ in range(2):
        await repair.audit()
    assert bus.published == []


async def test_a_trade_that_no_tape_can_hold_is_named_once() -> None:
    exchange, _, bus, repair = parts(LEAST_REACH)
    exchange.refused = [make_trade("uuid-bad", exchange="bybit", time=5, price="0")]
    await repair.audit()
    await repair.audit()
    (gap,) = [event for event in bus.told if isinstance(event, Gap)]
    assert (gap.start, gap.end, gap.cause, gap.state) == (5, 6, "malformed", GapState.UNFILLABLE)
    assert bus.refused == exchange.refused


async def test_intervals_far_apart_are_not_given_up_for_one_another() -> None:
    _, _, bus, repair = parts(LEAST_REACH)
    minute = 60 * HISTORY_LAG
    for start in (0, 1, 2, 3):
        repair.outage(Outage(start * 10 * minute, start * 10 * minute + 1, "restart"))
    assert [(gap.start, gap.end) for gap in bus.told if isinstance(gap, Gap)] == [
        (start * 10 * minute, start * 10 * minute + 1) for start in (0, 1, 2, 3)
    ]


class Repairs:
    def __init__(self) -> None:
        self.outages: list[Outage] = []

    def outage(self, outage: Outage) -> None:
        self.outages.append(outage)


def test_a_lost_connection_is_made_up_for_from_where_it_was_last_compared() -> None:
    market, bus, repairs = Market(INSTRUMENT, is_numbered=False), Bus(), Repairs()
    subscription = cast(Subscription, type("S", (), {"decode": None, "instruments": (INSTRUMENT,)}))
    symbol = INSTRUMENT.symbol
    handler = TradeHandler(subscription, {symbol: market}, {symbol: cast(MarketRepair, repairs)}, cast(Publisher, bus))
    handler.on_connected(100)
    assert bus.told == [coverage(100, 100)], "from here on history knows what nobody vouched for"
    assert market.compared_until == 100, "what was before the first connection is nobody's gap"
    market.compared_until = 500
    handler.on_disconnected(800)
    handler.on_connected(900)
    assert repairs.outages == [Outage(500, 900, "disconnect")]
    assert bus.told == [coverage(100, 100)]


async def test_a_market_that_waits_for_its_history_keeps_no_other_from_being_compared() -> None:
    stuck, compared = asyncio.Event(), asyncio.Event()

    class Stuck:
        async def audit(self) -> int:
            await stuck.wait()
            return 0

    class Quick:
        async def audit(self) -> int:
            compared.set()
            return 0

    markets = {name: Market(INSTRUMENT, is_numbered=False) for name in ("A-B", "C-D")}
    for market in markets.values():
        market.connected_since, market.unaudited = 0, LEAST_REACH
    repairs = cast(dict[str, MarketRepair], {"A-B": Stuck(), "C-D": Quick()})
    feeds = dict.fromkeys(markets, cast(Feed, cast(Any, type("F", (), {"stall_after": 60.0}))))
    auditor = Auditor("bybit", markets, repairs, feeds, cast(StoredTape, None), every=1_000)
    running = asyncio.create_task(auditor.run_busy())
    async with asyncio.timeout(10):
        await compared.wait()
        compared.clear()
        await compared.wait()
    running.cancel()


async def test_a_process_compares_from_where_its_predecessor_was_made_up_for() -> None:
    _, market, bus, repair = parts(LEAST_REACH)
    market.connected_since = None
    await repaired(repair, Outage(1_000, 2_000, "restart"), lambda: coverage(1_000, 2_000) in bus.told)
    subscription = cast(Subscription, type("S", (), {"decode": None, "instruments": (INSTRUMENT,)}))
    handler = TradeHandler(subscription, {INSTRUMENT.symbol: market}, {INSTRUMENT.symbol: repair}, cast(Publisher, bus))
    handler.on_connected(5_000)
    assert market.compared_until == 2_000, "what came before the connection would be compared by nobody"
