"""Trades with numbers: what is missing is fetched, whatever else fails, and the ledger says how each hole ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import cast

import pytest

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import GapState
from crosstape.common.market.trade import Trade
from crosstape.common.testing.builders import make_trade
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.feed import LONGEST_DELAY
from crosstape.ingestor.holes import LATE_NS, UNREACHED_NS, HoleRepair
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.sequence import Hole, TradeSequence
from crosstape.ingestor.telling import Teller
from services.ingestor.tests.harness import Answer, Bus, Exchange

INSTRUMENT = Instrument("binance", "BTCUSDT", "BTC", "USDT")
AWAY = ExchangeError("away")


def trade(number: int) -> Trade:
    return make_trade(number, time=number)


def page(numbers: Iterable[int], *, reaches_back: bool = True) -> HistoryPage:
    return HistoryPage([trade(number) for number in numbers], None, reaches_back)


def all_of(query: HistoryQuery) -> list[HistoryPage]:
    assert query.first_id is not None
    assert query.last_id is not None
    return [page(range(query.first_id, query.last_id + 1))]


class Parts:
    """A market whose socket brought the trades of these numbers, and the repair of its holes."""

    def __init__(self, answer: Answer, *numbers: int):
        self.market, self.bus, self.exchange = Market(INSTRUMENT, is_numbered=True), Bus(), Exchange(answer)
        for number in numbers:
            self.market.observe(trade(number))
        teller = Teller(self.market, cast(Publisher, self.bus), lambda: 0)
        self.now = 0
        rest = cast(ExchangeRest, self.exchange)
        self.repair = HoleRepair(self.market, self.sequence, rest, teller, clock=lambda: self.now)

    async def repair_again(self, after: int = int(LONGEST_DELAY * NANOSECONDS)) -> None:
        """When `after` (ns) has passed: every open hole is due."""
        self.now += after
        await self.repair.repair()

    @property
    def sequence(self) -> TradeSequence:
        assert self.market.sequence is not None
        return self.market.sequence

    @property
    def missing(self) -> list[tuple[int, int]]:
        return [(hole.first_id, hole.last_id) for hole in self.sequence.holes]


async def test_a_span_that_keeps_failing_keeps_no_other_waiting() -> None:
    parts = Parts(lambda query: [AWAY] if query.first_id == 2 else all_of(query), 1, *range(4, 2_001), 2_004)
    with pytest.raises(ExchangeError):
        await parts.repair.repair()
    assert parts.bus.ids == [2_001, 2_002, 2_003]
    assert parts.bus.holes(GapState.REPAIRED) == [(2_001, 2_003)]
    assert parts.missing == [(2, 3)]
    assert parts.repair.due_in is not None


async def test_a_trade_that_no_tape_can_hold_is_given_up_by_its_number_and_the_others_are_published() -> None:
    answer = HistoryPage([trade(2), trade(4)], None, reaches_back=True, refused=[trade(3)])
    parts = Parts(lambda query: [answer], 1, 5)
    await parts.repair.repair()
    assert parts.bus.ids == [2, 4]
    assert parts.bus.refused == [trade(3)]
    assert parts.bus.holes(GapState.REPAIRED) == [(2, 4)]
    assert parts.bus.holes(GapState.UNFILLABLE) == [(3, 3)]
    assert parts.bus.holes(GapState.ABSENT) == []
    assert parts.market.unfillable == [(3, 3)], "or the audit would find it missing in every round"
    assert parts.repair.due_in is None


async def test_neighbours_that_no_tape_can_hold_are_given_up_as_one_hole_that_nobody_calls_repaired() -> None:
    parts = Parts(lambda query: [HistoryPage([], None, reaches_back=True, refused=[trade(3), trade(2)])], 1, 4)
    await parts.repair.repair()
    assert parts.bus.holes(GapState.OPEN) == parts.bus.holes(GapState.UNFILLABLE) == [(2, 3)]
    assert parts.bus.holes(GapState.REPAIRED) == []


async def test_neighbours_within_a_repaired_hole_are_given_up_as_one() -> None:
    answer = HistoryPage([trade(2), trade(6)], None, reaches_back=True, refused=[trade(3), trade(4)])
    parts = Parts(lambda query: [answer], 1, 6)
    await parts.repair.repair()
    assert parts.bus.holes(GapState.REPAIRED) == [(2, 5)]
    assert parts.bus.holes(GapState.UNFILLABLE) == [(3, 4)]
    assert parts.bus.holes(GapState.ABSENT) == [(5, 5)]


async def test_a_history_that_does_not_reach_back_is_asked_as_long_for_a_hole_in_many_parts_as_for_a_whole_one() -> (
    None
):
    parts = Parts(lambda query: [page([], reaches_back=False)], 1, 5_000)
    await parts.repair.repair()
    for number in (3, 1_500, 3_000, 4_500):
        parts.market.observe(trade(number))
    await parts.repair_again(UNREACHED_NS - 1)
    assert parts.market.unfillable == []
    await parts.repair_again()
    assert parts.market.unfillable == [(2, 2), (4, 1_499), (1_501, 2_999), (3_001, 4_499), (4_501, 4_999)]


@pytest.mark.parametrize(
    ("held", "absent", "missing"),
    [
        pytest.param([*range(1, 21), 24], [(21, 23)], [], id="the trade behind shows that it holds all before"),
        pytest.param([*range(1, 20), 22], [(20, 21)], [(23, 23)], id="its newest one is one of them"),
        pytest.param(range(1, 20), [], [(20, 23)], id="its newest one is older"),
        pytest.param([], [], [(20, 23)], id="it is empty"),
    ],
)
async def test_only_ids_before_a_trade_of_the_history_are_called_absent(
    held: Iterable[int], absent: list[tuple[int, int]], missing: list[tuple[int, int]]
) -> None:
    parts = Parts(lambda query: [page(held)], *range(1, 20), 24)
    await parts.repair.repair()
    assert parts.missing == missing
    parts.exchange.answer = all_of
    await parts.repair_again()
    assert parts.bus.holes(GapState.ABSENT) == absent
    assert parts.missing == []


async def test_what_a_history_in_pages_newest_first_does_not_have_yet_stays_missing() -> None:
    parts = Parts(lambda query: [page(range(10, 16), reaches_back=False), page(range(1, 10))], 1, 20)
    await parts.repair.repair()
    assert parts.bus.ids == [*range(10, 16), *range(2, 10)]
    assert parts.missing == [(16, 19)]
    parts.exchange.answer = all_of
    await parts.repair_again()
    assert parts.bus.holes(GapState.REPAIRED) == [(2, 19)]
    assert parts.bus.holes(GapState.ABSENT) == []


async def test_a_history_that_is_late_is_waited_for_however_often_others_are_repaired_meanwhile() -> None:
    parts = Parts(lambda query: [page(range(1, 20))], *range(1, 20), 24)
    for _ in range(100):
        await parts.repair.repair()
    assert len(parts.exchange.queries) == 1
    await parts.repair_again(LATE_NS - 1)
    assert parts.market.unfillable == []
    parts.exchange.answer = all_of
    await parts.repair_again()
    assert parts.bus.ids == [20, 21, 22, 23]
    assert parts.bus.holes(GapState.REPAIRED) == [(20, 23)]


async def test_a_hole_beside_one_that_is_not_due_is_asked_for_with_it() -> None:
    parts = Parts(lambda query: [AWAY], 1, 3)
    with pytest.raises(ExchangeError):
        await parts.repair.repair()
    parts.market.observe(trade(5))
    parts.exchange.answer = all_of
    await parts.repair.repair()
    assert parts.bus.ids == [2, 4]
    assert parts.repair.due_in is None


async def test_a_history_that_stays_behind_is_given_up_by_name() -> None:
    parts = Parts(lambda query: [page(range(1, 20))], *range(1, 20), 24)
    await parts.repair.repair()
    await parts.repair_again(LATE_NS)
    assert parts.bus.holes(GapState.UNFILLABLE) == parts.market.unfillable == [(20, 23)]
    assert parts.repair.due_in is None


async def test_what_is_lost_beside_a_hole_that_is_partly_filled_is_a_hole_of_its_own() -> None:
    parts = Parts(lambda query: [page(range(13, 21)), AWAY], 9, *range(21, 27))
    with pytest.raises(ExchangeError):
        await parts.repair.repair()
    assert parts.missing == [(10, 12)]
    assert parts.sequence.reopen(Hole(18, 25, 17, 26)) is not None
    parts.exchange.answer = all_of
    await parts.repair_again()
    assert parts.missing == []
    assert sorted(map(int, parts.bus.ids)) == [*range(10, 18), 18, 18, 19, 19, 20, 20, *range(21, 26)]
    assert parts.bus.holes(GapState.OPEN) == parts.bus.holes(GapState.REPAIRED) == [(10, 20), (21, 25)]


async def test_a_hole_is_asked_for_between_the_times_of_its_neighbours() -> None:
    parts = Parts(all_of, 1)
    time = 10**18
    parts.market.observe(make_trade(2, time=time))
    parts.market.observe(make_trade(3, time=time + 1))
    assert parts.sequence.reopen(Hole(2, 2, time - 5, time + 1)) is not None
    await parts.repair.repair()
    (query,) = parts.exchange.queries
    assert time - 10**10 < query.start < query.end < time + 10**10


@pytest.mark.parametrize(
    ("first_page", "missing"),
    [
        pytest.param(range(2, 5), [], id="oldest first: the failed page is newer than all known"),
        pytest.param(range(8, 11), [(2, 7)], id="newest first: the failed page is a hole"),
    ],
)
async def test_what_is_newer_is_published_before_the_next_page_can_fail(
    first_page: range, missing: list[tuple[int, int]]
) -> None:
    parts = Parts(lambda query: [page(first_page), AWAY], 1)
    with pytest.raises(ExchangeError):
        await parts.repair.fetch_newer("restart", 100)
    assert parts.bus.ids == [*first_page]
    assert parts.missing == missing


async def test_pages_that_repeat_a_trade_publish_it_once() -> None:
    parts = Parts(lambda query: [page([4, 5]), page([2, 3, 4])], 1)
    assert await parts.repair.fetch_newer("restart", 100) == 4
    assert parts.bus.ids == [4, 5, 2, 3]


@pytest.mark.parametrize("is_newer", [True, False], ids=["what is newer", "a hole"])
async def test_no_further_page_is_asked_for_while_the_bus_is_full(*, is_newer: bool) -> None:
    asked: list[int] = []

    def pages(query: HistoryQuery) -> Iterator[HistoryPage]:
        for number in (2, 3):
            asked.append(number)
            yield page([number])

    parts = Parts(pages, 1) if is_newer else Parts(pages, 1, 4)
    parts.bus.has_room.clear()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(fetched(parts, is_newer=is_newer))
        while not parts.bus.published:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert asked == [2]
        parts.bus.has_room.set()
    assert parts.bus.ids == [2, 3]


async def fetched(parts: Parts, *, is_newer: bool) -> None:
    if is_newer:
        await parts.repair.fetch_newer("restart", 100)
    else:
        await parts.repair.repair()
