"""Outages: each is repaired on its own, and one before the first trade of a market by time, as no number tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from crosstape.common.errors import ExchangeError
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.testing.builders import make_trade
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor import holes, repair
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import HISTORY_LAG, Outage
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.telling import GAPS
from services.ingestor.tests.harness import Answer, Bus, Exchange, until

INSTRUMENT = Instrument("binance", "BTCUSDT", "BTC", "USDT")
NOW = 100 * HISTORY_LAG


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "REORDER_SECONDS", 0)
    for module in (repair, holes):
        monkeypatch.setattr(module, "backoff", lambda failures, chance: 0)


def parts(answer: Answer, *, is_numbered: bool = True) -> tuple[Exchange, Market, Bus, MarketRepair]:
    exchange, market, bus = Exchange(answer), Market(INSTRUMENT, is_numbered=is_numbered), Bus()
    market.connected_since = 0
    made = MarketRepair(market, cast(ExchangeRest, exchange), cast(Publisher, bus), clock=lambda: NOW)
    return exchange, market, bus, made


async def repaired(made: MarketRepair, is_done: Callable[[], bool]) -> None:
    running = asyncio.create_task(made.run())
    async with asyncio.timeout(10):
        while not is_done():
            await asyncio.sleep(0)
    running.cancel()


def is_vouched(bus: Bus, outage: Outage) -> Callable[[], bool]:
    return lambda: Coverage("binance", "BTC-USDT", outage.start, outage.end) in bus.told


def ends_of(bus: Bus) -> list[tuple[int, int, GapState, int]]:
    return [(gap.start, gap.end, gap.state, gap.trades) for gap in bus.told if isinstance(gap, Gap)]


async def test_an_outage_before_the_first_known_trade_is_compared_by_time() -> None:
    left_out, live = make_trade(5, time=1_500), make_trade(6, time=2_500)
    exchange, market, bus, made = parts(lambda query: [HistoryPage([left_out, live], None, reaches_back=True)])
    outage = Outage(1_000, 2_000, "disconnect")
    made.outage(outage)
    market.observe(live)  # the socket is back before the exchange is asked
    await repaired(made, is_vouched(bus, outage))
    assert bus.published == [left_out]
    assert [query.first_id for query in exchange.queries] == [None]
    assert ends_of(bus) == [(1_000, 2_000, GapState.OPEN, 0), (1_000, 2_000, GapState.REPAIRED, 1)]


async def test_an_audit_that_finds_no_trade_leaves_an_outage_to_be_compared_by_time() -> None:
    outage = Outage(NOW - HISTORY_LAG + 1, NOW - HISTORY_LAG + 9, "disconnect")
    left_out, live = make_trade(5, time=outage.start + 1), make_trade(6, time=NOW)
    _, market, bus, made = parts(lambda query: [HistoryPage([left_out, live], None, reaches_back=True)])
    made.outage(outage)
    await made.audit()
    market.observe(live)
    await repaired(made, is_vouched(bus, outage))
    assert bus.published == [left_out]


async def test_outages_that_are_made_up_for_as_one_leave_out_nothing_of_any() -> None:
    _, _, bus, made = parts(lambda query: [HistoryPage([], None, reaches_back=True)], is_numbered=False)
    for start, end in [(1, 2), (1_000, 2_000), (1_100, 1_200), (500, 1_500)]:
        made.outage(Outage(start, end, "malformed"))
    await repaired(made, lambda: len(ends_of(bus)) == 6)
    told = [(start, end) for start, end, state, _ in ends_of(bus) if state is GapState.OPEN]
    ended = [(start, end) for start, end, state, _ in ends_of(bus) if state is GapState.REPAIRED]
    assert told == ended == [(1, 2), (1_000, 2_000), (500, 1_500)]


async def test_an_outage_that_is_made_longer_by_another_is_open_in_the_ledger_as_a_whole() -> None:
    def opened() -> float:
        return float(GAPS.labels("binance", "disconnect", GapState.OPEN.value)._value.get())

    _, _, bus, made = parts(lambda query: [ExchangeError("away")], is_numbered=False)
    before = opened()
    minute = 60 * HISTORY_LAG
    for start in (0, 10 * minute, 10 * minute + 20, 10 * minute + 40):
        made.outage(Outage(start, start + 10, "disconnect"))
    assert ends_of(bus)[-1] == (10 * minute, 10 * minute + 50, GapState.OPEN, 0)
    assert opened() == before + 2, "an alert compares how many are opened and how many end"


async def test_an_outage_that_grows_while_it_is_repaired_is_repaired_again_as_a_whole() -> None:
    asked: list[int] = []

    def answer(query: HistoryQuery) -> list[HistoryPage]:
        asked.append(query.end)
        if len(asked) == 1:
            made.outage(Outage(1_000, 3_000, "bus"))
        return [HistoryPage([], None, reaches_back=True)]

    _, _, bus, made = parts(answer, is_numbered=False)
    made.outage(Outage(1_000, 2_000, "bus"))
    await repaired(made, is_vouched(bus, Outage(1_000, 3_000, "bus")))
    assert asked == [2_000, 3_000]
    assert [(end, state) for _, end, state, _ in ends_of(bus)][-2:] == [
        (3_000, GapState.OPEN),
        (3_000, GapState.REPAIRED),
    ]


async def test_losses_on_the_bus_keep_their_names_in_the_ledger_however_close() -> None:
    _, _, bus, made = parts(lambda query: [HistoryPage([], None, reaches_back=True)], is_numbered=False)
    for start in (1, 2, 3, 4):
        made.outage(Outage(start, start + 9, "bus"))
    await repaired(made, is_vouched(bus, Outage(4, 13, "bus")))
    assert [start for start, _, state, _ in ends_of(bus) if state is GapState.REPAIRED] == [1, 2, 3, 4]


async def test_what_a_page_that_fails_leaves_out_of_an_audit_is_repaired() -> None:
    newest_first = HistoryPage([make_trade(number) for number in (8, 9)], "8", reaches_back=False)
    left_out = HistoryPage([make_trade(number) for number in (6, 7)], None, reaches_back=True)
    _, market, bus, made = parts(
        lambda query: [newest_first, ExchangeError("away")] if query.last_id is None else [left_out]
    )
    market.observe(make_trade(5))
    with pytest.raises(ExchangeError):
        await made.audit()
    await repaired(made, lambda: bus.holes(GapState.REPAIRED) == [(6, 7)])
    assert bus.ids == [8, 9, 6, 7]


async def test_a_hole_among_the_first_trades_is_repaired_too() -> None:
    trades = [make_trade(number, time=1_500) for number in (5, 6, 7)]

    def answer(query: HistoryQuery) -> Iterator[HistoryPage]:
        is_by_time = query.first_id is None
        yield HistoryPage([trades[0], trades[2]] if is_by_time else trades, None, reaches_back=True)

    _, _, bus, made = parts(answer)
    made.outage(Outage(1_000, 2_000, "disconnect"))
    await repaired(made, lambda: bus.holes(GapState.REPAIRED) == [(None, None), (6, 6)])
    assert bus.ids == [5, 7, 6]


async def test_an_outage_after_a_known_trade_is_asked_for_by_number() -> None:
    exchange, market, bus, made = parts(lambda query: [HistoryPage([make_trade(6)], None, reaches_back=True)])
    market.observe(make_trade(5))
    outage = Outage(1_000, 2_000, "disconnect")
    made.outage(outage)
    await repaired(made, is_vouched(bus, outage))
    assert bus.ids == [6]
    assert [query.first_id for query in exchange.queries] == [6]


async def test_the_first_trade_of_a_silent_market_is_found_where_the_socket_left_it_out() -> None:
    left_out = make_trade(1, time=1_500)
    _, _, bus, made = parts(lambda query: [HistoryPage([left_out], None, reaches_back=True)])
    await made.audit()
    await repaired(made, lambda: bool(bus.published))
    assert bus.published == [left_out]
    assert ends_of(bus)[0] == (0, NOW - HISTORY_LAG, GapState.OPEN, 0)


async def test_a_market_that_nobody_trades_is_no_outage() -> None:
    young = make_trade(1, time=NOW)  # the socket may yet bring it
    _, _, bus, made = parts(lambda query: [HistoryPage([young], None, reaches_back=True)])
    await made.audit()
    assert bus.told == []


@pytest.mark.parametrize("is_numbered", [True, False])
async def test_an_outage_that_keeps_failing_keeps_no_other_waiting(*, is_numbered: bool) -> None:
    hopeless, curable = Outage(1_000, 2_000, "disconnect"), Outage(NOW // 2, NOW // 2 + 1, "malformed")
    _, _, bus, made = parts(
        lambda query: [ExchangeError("poisoned") if query.end == hopeless.end else HistoryPage([], None, True)],
        is_numbered=is_numbered,
    )
    made.outage(hopeless)
    made.outage(curable)
    await repaired(made, is_vouched(bus, curable))
    assert not is_vouched(bus, hopeless)()


async def test_holes_that_keep_failing_keep_no_outage_waiting() -> None:
    _, market, bus, made = parts(
        lambda query: [HistoryPage([], None, True) if query.last_id is None else ExchangeError("poisoned")]
    )
    market.observe(make_trade(1))
    hole = market.observe(make_trade(3))
    assert hole is not None
    made.hole(hole, "sequence")
    outage = Outage(1_000, 2_000, "disconnect")
    made.outage(outage)
    await repaired(made, is_vouched(bus, outage))
    assert bus.holes(GapState.OPEN) == [(None, None), (2, 2)]


@pytest.mark.parametrize("late", [HistoryPage([make_trade(1)], None, True), ExchangeError("poisoned")])
async def test_an_outage_does_not_wait_for_a_hole_that_is_asked_for_again_later(
    monkeypatch: pytest.MonkeyPatch, late: HistoryPage | ExchangeError
) -> None:
    monkeypatch.setattr(holes, "backoff", lambda failures, chance: 1_000)
    exchange, market, bus, made = parts(lambda query: [HistoryPage([], None, True) if query.last_id is None else late])
    market.observe(make_trade(1))
    hole = market.observe(make_trade(3))
    assert hole is not None
    made.hole(hole, "sequence")
    running = asyncio.create_task(made.run())
    await until(lambda: exchange.queries)
    outage = Outage(1_000, 2_000, "disconnect")
    made.outage(outage)
    await until(is_vouched(bus, outage))
    running.cancel()
    assert [query.last_id for query in exchange.queries] == [3, None]


async def test_the_newest_trade_is_sent_again_as_it_was() -> None:
    _, market, bus, made = parts(lambda query: [])
    made.repeat_newest()
    for number in (1, 3, 2):
        market.observe(make_trade(number))
    made.repeat_newest()
    assert bus.published == [make_trade(3)]
