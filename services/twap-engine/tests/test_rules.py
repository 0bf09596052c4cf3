"""The pure rules: the schedule, what a level offers, and the walk."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twap_world import ALPHA, BETA, TestClock, change, make_order, snapshot

from crosstape.common.market.book import BookUpdate, Level, OrderBook
from crosstape.twap_engine.analytics import (
    average_price,
    market_twap,
    market_vwap,
    slice_slippage,
    slices_passed,
    slippage_bps,
)
from crosstape.twap_engine.books import Books, MarketBook
from crosstape.twap_engine.ladder import MOST_LEVELS, MarketSide, walk
from crosstape.twap_engine.liquidity import CLOCK_FAULT_NS, KEPT_NS, Taken, available, is_forgotten, take
from crosstape.twap_engine.order import Benchmark, Fill, Progress, Side, SliceResult
from crosstape.twap_engine.schedule import EXACT, LAST_NS, Over, Run, Wait, next_step, slice_quantity

SECOND = 1_000_000_000
decimals = st.decimals(min_value="0.000000000000000001", max_value=10**12, places=18)
lots = st.sampled_from([Decimal(lot) for lot in ("1", "0.1", "0.00001", "0.000000000000000001", "0.25")])


@given(total=decimals, slices=st.integers(1, 300), lot=lots, filled=st.lists(st.integers(0, 4), max_size=300))
def test_slices_sum_to_the_order_exactly_whatever_earlier_ones_got(
    total: Decimal, slices: int, lot: Decimal, filled: list[int]
) -> None:
    left = total
    with localcontext(EXACT):
        for number in range(slices):
            quantity = slice_quantity(total, left, slices, slices - number, lot)
            assert 0 <= quantity <= left
            if number < slices - 1:
                assert quantity % lot == 0
                assert quantity < max(total / slices, left / (slices - number)) + 3 * lot
                fourths = filled[number] if number < len(filled) else 4
                left -= quantity * fourths / 4
            else:
                assert quantity == left


@given(lots=st.integers(0, 10**6), slices=st.integers(1, 300), lot=lots, rest=st.sampled_from(["0", "0.5"]))
def test_undisturbed_slices_differ_by_a_lot_at_most_and_keep_to_the_even_schedule(
    lots: int, slices: int, lot: Decimal, rest: str
) -> None:
    with localcontext(EXACT):
        left = total = (lots + Decimal(rest)) * lot
        taken = []
        for number in range(slices):
            assert abs(left - total * (slices - number) / slices) <= lot
            taken.append(slice_quantity(total, left, slices, slices - number, lot))
            left -= taken[-1]
        taken[-1] -= Decimal(rest) * lot
        assert max(taken) - min(taken) <= lot


@given(lots=st.integers(0, 10**6), slices=st.integers(2, 300), missed=st.integers(1, 299))
def test_what_was_missed_is_spread_over_the_slices_left(lots: int, slices: int, missed: int) -> None:
    taken = all_taken(lots, slices, slices - min(missed, slices - 1))
    assert sum(taken) == lots
    assert max(taken) - min(taken) <= 2


def test_few_lots_are_spread_over_many_slices_and_made_up_for_one_at_a_time() -> None:
    assert [number for number, lots in enumerate(all_taken(10, 100, 100)) if lots] == [*range(5, 100, 10)]
    assert all_taken(15, 10, 10) == [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]
    assert [number for number, lots in enumerate(all_taken(10, 100, 50)) if lots] == [0, 1, 2, 3, 4, 5, 15, 25, 35, 45]


def all_taken(lots: int, slices: int, slices_left: int) -> list[int]:
    """The slices of an order of `lots` of which those before the last `slices_left` were missed."""
    left, taken = lots, []
    for still_left in range(slices_left, 0, -1):
        taken.append(int(slice_quantity(Decimal(lots), Decimal(left), slices, still_left, Decimal(1))))
        left -= taken[-1]
    return taken


@given(
    start=st.integers(0, 10**19),
    interval=st.integers(1, 10**12),
    slices=st.integers(1, 10_000),
    done=st.integers(0, 10_000),
    now=st.integers(-(10**15), 10**16),
)
def test_a_slice_runs_in_its_own_interval_and_never_early(
    start: int, interval: int, slices: int, done: int, now: int
) -> None:
    step = next_step(start, interval, slices, done, start + now)
    match step:
        case Run(number):
            assert done <= number < slices
            lasts = interval if number < slices - 1 else LAST_NS
            assert number * interval <= now < number * interval + lasts
        case Wait(until):
            assert until == start + done * interval > start + now
            assert done < slices
        case Over():
            assert done >= slices or now >= (slices - 1) * interval + LAST_NS


def test_the_last_slice_waits_for_a_takeover_and_no_longer_however_long_the_interval() -> None:
    assert next_step(0, SECOND, 6, 5, 5 * SECOND + LAST_NS - 1) == Run(5)
    assert next_step(0, SECOND, 6, 4, 9 * SECOND) == Run(5)
    assert next_step(0, SECOND, 6, 5, 5 * SECOND + LAST_NS) == Over()
    day = 86_400 * SECOND
    assert next_step(0, day, 2, 1, day + LAST_NS - 1) == Run(1)
    assert next_step(0, day, 2, 1, day + LAST_NS) == Over()
    assert next_step(0, day, 2, 0, day - 1) == Run(0)


def test_a_seed_order_has_six_slices() -> None:
    steps = [next_step(0, SECOND, 6, number, number * SECOND) for number in range(7)]
    assert steps == [*(Run(number) for number in range(6)), Over()]


def test_what_was_taken_counts_while_the_level_lives() -> None:
    entry = take(None, Decimal(2), absent_at=0, book_time=100)
    assert available(Decimal(3), entry, absent_at=0, book_time=150) == 1
    assert available(Decimal(5), entry, absent_at=90, book_time=150) == 3
    assert available(Decimal(1), entry, absent_at=0, book_time=150) == 0
    assert take(entry, Decimal(1), absent_at=0, book_time=150) == Taken(Decimal(3), 150)


def test_a_level_that_was_absent_since_has_a_new_life() -> None:
    entry = Taken(Decimal(2), 100)
    assert available(Decimal(3), entry, absent_at=120, book_time=150) == 3
    assert take(entry, Decimal(1), absent_at=120, book_time=150) == Taken(Decimal(1), 150)


def test_who_looks_at_an_older_book_than_the_last_taker_leaves_the_level_alone() -> None:
    assert available(Decimal(3), Taken(Decimal(1), 100), absent_at=0, book_time=99) == 0


def test_an_entry_from_before_the_ingestors_clock_was_set_back_is_void() -> None:
    assert available(Decimal(3), Taken(Decimal(1), 100 + CLOCK_FAULT_NS), absent_at=0, book_time=99) == 3


def test_entries_are_kept_for_replicas_that_are_behind() -> None:
    entry = Taken(Decimal(1), 100)
    assert not is_forgotten(entry, absent_at=0, book_time=10**15)
    assert not is_forgotten(entry, absent_at=200, book_time=200 + KEPT_NS)
    assert is_forgotten(entry, absent_at=200, book_time=201 + KEPT_NS)


def take_one(book: MarketBook, entries: dict[str, Taken]) -> tuple[Decimal, dict[str, Taken]]:
    """Buy 1 of the book; its price, and the entries that are stored then."""
    side = MarketSide(book, Side.BUY, entries, Decimal())
    ((fill,), _) = walk([side], Decimal(1), Decimal(1_000))
    return fill.price, side.prune()


def test_a_level_that_another_ingestors_clock_calls_older_than_its_absence_is_not_taken_twice() -> None:
    book = MarketBook(ALPHA)
    book.apply(snapshot(ALPHA, [], [("101", "1"), ("102", "9")], 1 * SECOND), 0)
    book.watch(Side.BUY, "101")
    book.apply(change(ALPHA, [], [("101", "0")], 2 * SECOND), 0)
    book.apply(snapshot(ALPHA, [], [("101", "1"), ("102", "9")], 2 * SECOND - 40_000_000), 0)
    prices, entries = [], {}
    for _ in range(3):
        price, entries = take_one(book, entries)
        prices.append(price)
    assert prices == [101, 102, 102]


def test_book_time_follows_a_clock_that_was_set_back() -> None:
    book = MarketBook(ALPHA)
    book.apply(snapshot(ALPHA, [], [], 10 * CLOCK_FAULT_NS), 0)
    book.apply(snapshot(ALPHA, [], [], 9 * CLOCK_FAULT_NS), 0)
    assert book.time == 10 * CLOCK_FAULT_NS
    book.apply(snapshot(ALPHA, [], [], 8 * CLOCK_FAULT_NS), 0)
    assert book.time == 8 * CLOCK_FAULT_NS


def test_a_book_whose_best_levels_are_not_known_is_not_traded_on() -> None:
    books = Books(SECOND)
    levels = [("101", "5"), ("102", "1")]
    books.apply(snapshot(ALPHA, [("99", "1")], levels, 1, ask_horizon="102"), 0)
    assert books.tradable(ALPHA, 0) is not None
    books.apply(change(ALPHA, [], [("101", "0"), ("102", "0"), ("104", "1")], 2), 0)
    assert books.tradable(ALPHA, 0) is None
    books.apply(snapshot(ALPHA, [("99", "1")], [], 3), 0)
    assert books.tradable(ALPHA, 0) is not None, "there are no asks, and that is known"


def test_what_another_ingestor_says_of_a_book_is_no_sign_of_life_of_it() -> None:
    books = Books(SECOND)

    def copy(stream: str) -> BookUpdate:
        return BookUpdate(ALPHA.exchange, ALPHA.symbol, True, [("9", "1")], [], 1, 1, stream=stream, is_copy=True)

    assert books.apply(copy("a.1"), 0)
    assert not books.apply(copy("b.1"), 1, is_late=True)
    assert books.tradable(ALPHA, 1) is not None
    assert books.apply(copy("a.1"), 1, is_late=True) and books.tradable(ALPHA, 1) is None


def test_a_level_beyond_what_a_snapshot_knows_has_not_left_the_book() -> None:
    book = MarketBook(ALPHA)
    book.apply(snapshot(ALPHA, [], [("101", "5"), ("103", "1")], 1), 0)
    _, entries = take_one(book, {"103": Taken(Decimal(1), 1)})
    cut = snapshot(ALPHA, [], [("102", "1")], 2, ask_horizon="102")
    book.apply(cut, 0)
    assert [book.absent_at(Side.BUY, price) for price in ("101", "103")] == [2, 0]
    other = MarketBook(ALPHA)
    other.apply(cut, 0)
    MarketSide(other, Side.BUY, entries, Decimal())
    assert [other.absent_at(Side.BUY, price) for price in ("101", "103")] == [2, 0]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many levels were read of books, time and again."""
    depths: list[int] = []
    top = OrderBook.top

    def counted(book: OrderBook, depth: int) -> tuple[list[Level], list[Level]]:
        depths.append(depth)
        return top(book, depth)

    monkeypatch.setattr(OrderBook, "top", counted)
    return depths


def test_a_walk_through_a_deep_book_ends_after_a_thousand_levels(read: list[int]) -> None:
    book = MarketBook(ALPHA)
    book.apply(snapshot(ALPHA, [], [(str(price), "1") for price in range(1, 20_001)], 1), 0)
    first = MarketSide(book, Side.BUY, {}, Decimal())
    fills, reason = walk([first], Decimal(10**9), Decimal(10**9))
    assert [fill.price for fill in fills] == [*range(1, MOST_LEVELS + 1)] and reason == "no_liquidity"
    assert sum(read) < 4 * MOST_LEVELS, "no level is read again and again"
    second = MarketSide(book, Side.BUY, first.prune(), Decimal())
    assert walk([second], Decimal(1), Decimal(10**9)) == ([], "no_liquidity")


@pytest.mark.parametrize("levels", [100, MOST_LEVELS])
def test_a_book_of_which_nothing_is_left_is_not_read_again_at_each_level_of_another_one(
    read: list[int], levels: int
) -> None:
    spent, deep = MarketBook(ALPHA), MarketBook(BETA)
    spent.apply(snapshot(ALPHA, [], [(str(price), "1") for price in range(1, levels + 1)], 1), 0)
    deep.apply(snapshot(BETA, [], [(str(price), "1") for price in range(2_001, 3_001)], 1), 0)
    sides = [MarketSide(book, Side.BUY, {}, Decimal()) for book in (spent, deep)]
    fills, _ = walk(sides, Decimal(10**9), Decimal(10**9))
    assert len(fills) == levels + MOST_LEVELS
    assert walk(sides, Decimal(1), Decimal(10**9)) == ([], "no_liquidity")
    assert sum(read) < 5 * (levels + MOST_LEVELS)


def test_only_prices_of_which_the_database_has_an_entry_are_kept() -> None:
    books = [MarketBook(ALPHA), MarketBook(ALPHA)]
    entries: dict[str, Taken] = {}
    for number in range(200):
        update = snapshot(ALPHA, [], [(str(100 + number), "1")], (number + 1) * SECOND)
        for book in books:
            book.apply(update, 0)
        _, entries = take_one(books[number % 2], entries)
    for book in books:
        watched = [price for price in range(100, 300) if book.absent_at(Side.BUY, str(price))]
        assert len(watched) <= len(entries) + 1


prices = st.integers(90, 110).map(str)
side_of_book = st.dictionaries(prices, st.sampled_from(["0.5", "1", "2.25"]), max_size=40)


@given(
    asks=st.tuples(side_of_book, side_of_book),
    quantities=st.lists(st.decimals(min_value="0.01", max_value=30, places=2), min_size=1, max_size=5),
    limit=st.integers(89, 111),
)
def test_a_walk_takes_the_best_there_is_and_nothing_beyond_the_limit(
    asks: tuple[dict[str, str], dict[str, str]], quantities: list[Decimal], limit: int
) -> None:
    sides = []
    for market, levels in zip((ALPHA, BETA), asks, strict=True):
        book = MarketBook(market)
        book.apply(snapshot(market, [], list(levels.items()), 1), 1)
        sides.append(MarketSide(book, Side.BUY, {}, Decimal()))
    offered = sorted((Decimal(p), Decimal(q)) for levels in asks for p, q in levels.items() if Decimal(p) <= limit)
    taken = []
    for quantity in quantities:
        fills, reason = walk(sides, quantity, Decimal(limit))
        got = sum((fill.quantity for fill in fills), Decimal())
        assert got <= quantity
        assert (got == quantity) == (reason == "")
        taken += fills
    assert [fill.price for fill in taken] == sorted(fill.price for fill in taken)
    assert sum((f.quantity for f in taken), Decimal()) == min(sum(quantities), sum(q for _, q in offered))
    left = sum((f.quantity * f.price for f in taken), Decimal())
    wanted = min(sum(quantities), sum(q for _, q in offered))
    cheapest = Decimal()
    for price, quantity in offered:
        cheapest += min(quantity, wanted) * price
        wanted -= min(quantity, wanted)
    assert left == cheapest


def test_slippage_of_a_slice_is_how_much_worse_than_the_mid_it_was_filled() -> None:
    def result(mid: str | None, *prices: str) -> SliceResult:
        fills = tuple(Fill("x", "A-B", Decimal(price), Decimal(2), Decimal(), "") for price in prices)
        return SliceResult(0, 0, 0, Decimal(4), fills, "", None if mid is None else Decimal(mid), Benchmark())

    assert slice_slippage(Side.BUY, result("100", "101", "102")) == pytest.approx(0.015)
    assert slice_slippage(Side.SELL, result("100", "101", "102")) == pytest.approx(-0.015)
    assert slice_slippage(Side.BUY, result("100")) is None
    assert slice_slippage(Side.BUY, result(None, "101")) is None


def test_the_averages_of_a_coin_that_costs_next_to_nothing_are_its_price() -> None:
    price = Decimal("0.00000000064")
    benchmark = Benchmark(mid_time=3 * price, seconds=Decimal(3), notional=7 * price, volume=Decimal(7))
    progress = Progress(filled=Decimal(9), notional=9 * price, benchmark=benchmark)
    assert {average_price(progress), market_twap(benchmark), market_vwap(benchmark)} == {price}
    assert slippage_bps(make_order("a", TestClock()), progress, market_twap(benchmark)) == 0


def test_a_slice_is_missed_once_it_can_no_longer_run() -> None:
    clock = TestClock()
    order = make_order("a", clock)

    def missed(run: int, seconds: float) -> int:
        progress = Progress(next_slice=run, slices_run=run)
        return slices_passed(order, progress, clock.utc() + int(seconds * SECOND)) - run

    assert [missed(2, seconds) for seconds in (1.5, 2, 3, 3.5, 4)] == [0, 0, 1, 1, 2]
    assert [missed(5, seconds) for seconds in (4.5, 5, 8, 14.5, 15, 16)] == [0, 0, 0, 0, 1, 1]
    assert missed(6, 8) == 0
