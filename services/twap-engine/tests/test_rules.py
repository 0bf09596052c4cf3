"""The pure rules: the schedule, what a level offers, and the walk."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twap_world import ALPHA, BETA, snapshot

from crosstape.twap_engine.analytics import slice_slippage
from crosstape.twap_engine.books import MarketBook
from crosstape.twap_engine.ladder import MarketSide, walk
from crosstape.twap_engine.liquidity import CLOCK_FAULT_NS, KEPT_NS, Taken, available, is_forgotten, take
from crosstape.twap_engine.order import Benchmark, Fill, Side, SliceResult
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
            assert start + number * interval <= start + now < start + (number + 1) * interval
        case Wait(until):
            assert until == start + done * interval > start + now
            assert done < slices
        case Over():
            assert done >= slices or now >= (slices - 1) * interval + min(interval, LAST_NS)


def test_the_last_slice_of_a_long_interval_runs_at_its_time_or_not_at_all() -> None:
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
        book.apply(snapshot(market, [], list(levels.items()), 1))
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
