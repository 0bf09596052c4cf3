"""Trade sequences: every id is observed once or lies in a reported hole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crosstape.ingestor.sequence import Hole, TradeSequence

IDS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


def missing(sequence: TradeSequence) -> set[int]:
    return {i for hole in sequence.holes for i in range(hole.first_id, hole.last_id + 1)}


@given(IDS)
def test_every_id_up_to_the_newest_is_observed_or_in_a_hole(ids: list[int]) -> None:
    sequence = TradeSequence()
    for i in ids:
        sequence.observe(i, i * 10)
    assert sequence.newest_id == max(ids)
    assert missing(sequence) == set(range(ids[0], max(ids) + 1)) - set(ids)


@given(IDS)
def test_a_hole_is_reported_by_the_trade_behind_it_and_by_no_other(ids: list[int]) -> None:
    sequence = TradeSequence()
    newest = None
    for i in ids:
        hole = sequence.observe(i, i * 10)
        if newest is not None and i > newest + 1:
            assert hole == Hole(newest + 1, i - 1, newest * 10, i * 10)
        else:
            assert hole is None
        newest = i if newest is None else max(newest, i)


@given(IDS, st.integers(1, 60), st.integers(0, 20))
def test_closing_a_range_removes_exactly_its_ids(ids: list[int], first: int, length: int) -> None:
    sequence = TradeSequence()
    for i in ids:
        sequence.observe(i, i)
    before = missing(sequence)
    sequence.close(first, first + length)
    assert missing(sequence) == before - set(range(first, first + length + 1))
    assert all(hole.first_id <= hole.last_id for hole in sequence.holes)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9))))
def test_a_hole_without_ranges_is_what_they_leave_of_it(taken: list[tuple[int, int]]) -> None:
    parts = Hole(10, 20, 1, 2).without((first, first + more) for first, more in taken)
    left = [i for part in parts for i in range(part.first_id, part.last_id + 1)]
    assert left == [i for i in range(10, 21) if not any(first <= i <= first + more for first, more in taken)]
    assert all((part.start, part.end) == (1, 2) for part in parts)


@given(IDS, st.integers(1, 60))
def test_resuming_from_the_tape_opens_the_hole_before_the_first_live_trade(ids: list[int], stored: int) -> None:
    live = [100, *(100 + i for i in ids)]
    sequence = TradeSequence()
    for i in live:
        sequence.observe(i, i)
    hole = sequence.resume(stored, 5)
    assert hole is not None
    assert (hole.first_id, hole.last_id, hole.start) == (stored + 1, live[0] - 1, 5)
    assert missing(sequence) == set(range(stored + 1, max(live) + 1)) - set(live)


def test_resuming_before_any_trade_makes_the_first_one_continue_the_tape() -> None:
    sequence = TradeSequence()
    assert sequence.resume(7, 70) is None
    assert sequence.observe(8, 80) is None
    assert sequence.observe(11, 110) == Hole(9, 10, 80, 110)


def test_resuming_where_the_live_trades_overlap_the_tape_opens_nothing() -> None:
    sequence = TradeSequence()
    sequence.observe(5, 50)
    assert sequence.resume(4, 40) is None
    assert sequence.resume(9, 90) is None
    assert sequence.holes == ()


def test_ids_the_tape_lost_are_missing_again_unless_they_already_are() -> None:
    sequence = TradeSequence()
    for i in (1, 2, 3, 6, 7):
        sequence.observe(i, i)
    lost = Hole(2, 3, 1, 6)
    assert sequence.reopen(lost) == lost
    assert sequence.reopen(Hole(3, 4, 1, 6)) is None, "overlaps the hole 4 to 5 and the reopened one"
    assert sequence.reopen(Hole(8, 9, 7, 10)) is None, "was never observed"
    assert missing(sequence) == {2, 3, 4, 5}
    assert sequence.holes[0] == lost


@given(IDS)
def test_what_it_lacks_is_missing_or_newer_than_all_observed(ids: list[int]) -> None:
    sequence = TradeSequence()
    assert sequence.lacks(1)
    for i in ids:
        sequence.observe(i, i)
    assert {i for i in range(ids[0], 70) if sequence.lacks(i)} == missing(sequence) | set(range(max(ids) + 1, 70))


def test_what_is_left_of_a_hole_is_told_part_by_part() -> None:
    sequence = TradeSequence()
    sequence.observe(1, 10)
    hole = sequence.observe(10, 100)
    assert hole is not None
    sequence.observe(5, 50)
    assert [(part.first_id, part.last_id) for part in sequence.missing_in(hole)] == [(2, 4), (6, 9)]
