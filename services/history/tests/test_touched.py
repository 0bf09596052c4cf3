"""When minutes are due to be closed, and their seconds: pure rules."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from crosstape.common.testing.strategies import START
from crosstape.history.portions import MOST_BYTES
from crosstape.history.sink.touched import LONGEST_WAIT, Minute, Seconds, Touch, TouchedMinutes
from crosstape.history.sink.writer import LONGEST_BACKLOG_SECONDS

MINUTE = START // 10**9


def rows_of(due: Mapping[Minute, Touch]) -> dict[Minute, int]:
    return {minute: touch.rows for minute, touch in due.items()}


def caught_up(*, grace: float, quiet: float) -> TouchedMinutes:
    """Whatever reached the bus is stored."""
    touched = TouchedMinutes(grace=grace, quiet=quiet)
    touched.reached = math.inf
    return touched


def test_a_minute_is_due_once_it_is_over_and_quiet() -> None:
    touched = caught_up(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 5, now=100.0, since=MINUTE)
    assert touched.due(105.0, MINUTE + 60.5, max_rows=10) == {}
    touched.touch(minute, 2, now=105.5, since=MINUTE)
    assert touched.due(106.0, MINUTE + 61.0, max_rows=10) == {}
    assert rows_of(touched.due(106.5, MINUTE + 61.5, max_rows=10)) == {minute: 7}
    assert touched.due(200.0, MINUTE + 200, max_rows=10) == {}


def test_an_old_minute_waits_for_what_was_taken_from_the_bus_after_its_last_trades() -> None:
    touched = caught_up(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.taken_at = 99.5
    touched.touch(minute, 5, now=100.0, since=MINUTE)
    assert touched.due(109.0, MINUTE + 3_600, max_rows=10) == {}
    touched.touch(minute, 2, now=110.0, since=MINUTE)
    touched.taken_at = 101.0
    assert touched.due(110.5, MINUTE + 3_600, max_rows=10) == {}
    touched.taken_at = 111.0
    assert rows_of(touched.due(111.5, MINUTE + 3_600, max_rows=10)) == {minute: 7}


@pytest.mark.parametrize("first", [0.0, 59.0], ids=["traded from its start on", "traded at its end"])
def test_a_minute_waits_for_what_reached_the_bus_before_its_end(first: float) -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 1, now=first, since=MINUTE)
    touched.touch(minute, 1, now=59.5, since=MINUTE)
    touched.reached = MINUTE + 60.9
    assert touched.due(75.0, MINUTE + 75, max_rows=10) == {}
    touched.reached = MINUTE + 61.0
    assert rows_of(touched.due(75.0, MINUTE + 75, max_rows=10)) == {minute: 2}


def test_a_minute_does_not_wait_for_ever_while_another_partition_catches_up() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 1, now=0.0, since=MINUTE)
    touched.reached = MINUTE - 86_400
    assert touched.due(120.0, MINUTE + 120, max_rows=10) == {}
    assert rows_of(touched.due(121.0, MINUTE + 121, max_rows=10)) == {minute: 1}
    assert LONGEST_WAIT < LONGEST_BACKLOG_SECONDS / 2


def test_a_minute_that_never_gets_quiet_is_closed_all_the_same() -> None:
    touched = caught_up(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    for second in range(122):
        touched.touch(minute, 1, now=float(second), since=MINUTE)
        assert (rows_of(touched.due(float(second), MINUTE + second, max_rows=10)) == {minute: 122}) == (second == 121)


@pytest.mark.parametrize(
    ("is_behind", "reached", "is_late"), [(True, 61.0, True), (True, 60.9, False), (False, 3_600.0, False)]
)
def test_a_minute_is_late_whose_first_trade_came_after_newer_ones_and_its_end(
    is_behind: bool, reached: float, is_late: bool
) -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.reached = MINUTE + reached
    touched.touch(minute, 1, now=100.0, since=MINUTE, is_behind=is_behind)
    touched.reached = math.inf
    assert [touch.is_late for touch in touched.due(200.0, MINUTE + 300, max_rows=10).values()] == [is_late]
    touched.touch(minute, 1, now=200.0, since=MINUTE, is_behind=not is_behind)
    touched.give_back()
    assert [touch.is_late for touch in touched.due(300.0, MINUTE + 400, max_rows=10).values()] == [is_late]


def test_who_forgets_knows_nothing_of_new_partitions_and_keeps_minutes_that_only_lost_trades() -> None:
    touched = caught_up(grace=1.0, quiet=1.0)
    lost, open_minute = ("binance", "BTC-USDT", MINUTE), ("binance", "BTC-USDT", MINUTE + 60)
    touched.touch(lost, 0, now=100.0, since=MINUTE)
    touched.touch(open_minute, 5, now=100.0, since=MINUTE)
    touched.forget()
    assert touched.due(110.0, MINUTE + 130, max_rows=10) == {}
    touched.reached = MINUTE + 130
    assert rows_of(touched.due(110.0, MINUTE + 130, max_rows=10)) == {lost: 0}


def test_only_minutes_that_are_over_count_as_waiting() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    assert touched.longest_wait(100.0, MINUTE) == 0
    touched.touch(("binance", "ETH-USDT", MINUTE + 3_600), 1, now=100.0, since=MINUTE + 3_600)
    assert touched.longest_wait(900.0, MINUTE + 800) == 0
    touched.touch(("binance", "BTC-USDT", MINUTE), 1, now=130.0, since=MINUTE + 30)
    assert touched.longest_wait(140.0, MINUTE + 40) == 0
    assert touched.longest_wait(181.0, MINUTE + 81) == 20
    touched.touch(("binance", "BTC-USDT", MINUTE - 3_600), 1, now=150.0, since=MINUTE - 3_600)
    assert touched.longest_wait(181.0, MINUTE + 81) == 31


def test_a_second_is_due_once_it_is_over_and_what_reached_the_bus_is_stored() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 5, now=100.0, since=MINUTE + 3)
    touched.reached = MINUTE + 4.9
    assert touched.due_seconds(200.0, MINUTE + 30) is None
    touched.reached = MINUTE + 7.2
    assert touched.due_seconds(200.0, MINUTE + 6.5) == Seconds([minute], MINUTE + 3, MINUTE + 5)
    assert touched.due_seconds(200.0, MINUTE + 30) == Seconds([minute], MINUTE + 5, MINUTE + 6)
    assert touched.due_seconds(200.0, MINUTE + 30) is None


def test_a_second_is_due_again_after_a_late_trade_and_after_a_failure() -> None:
    touched = TouchedMinutes(grace=0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.reached = MINUTE + 10.0
    touched.touch(minute, 1, now=100.0, since=MINUTE + 5)
    failed = touched.due_seconds(200.0, MINUTE + 30)
    assert failed is not None
    touched.give_back_seconds(failed)
    assert touched.due_seconds(200.0, MINUTE + 30) == Seconds([minute], MINUTE + 5, MINUTE + 10)
    touched.touch(minute, 1, now=101.0, since=MINUTE + 2)
    assert touched.due_seconds(200.0, MINUTE + 30) == Seconds([minute], MINUTE + 2, MINUTE + 10)


def test_seconds_of_long_ago_wait_for_their_minute() -> None:
    touched = TouchedMinutes(grace=0, quiet=1.0)
    touched.reached = MINUTE + 10.0
    touched.touch(("binance", "BTC-USDT", MINUTE - 3_600), 1, now=100.0, since=MINUTE - 3_600)
    assert touched.due_seconds(200.0, MINUTE + 30) is None


def test_one_step_takes_neighbours_of_one_hour_up_to_its_weight() -> None:
    touched = caught_up(grace=0, quiet=0)
    for second in (0, 60, 3_600):
        for symbol in ("A", "B"):
            touched.touch(("x", symbol, MINUTE + second), 10, now=0.0, since=MINUTE + second)
    steps = [list(touched.due(9.0, MINUTE + 9_000, max_rows=30)) for _ in range(4)]
    assert [[(s, m - MINUTE) for _, s, m in step] for step in steps] == [
        [("A", 0), ("B", 0), ("A", 60)],
        [("B", 60)],
        [("A", 3_600), ("B", 3_600)],
        [],
    ]


def test_one_step_names_no_more_minutes_than_a_parameter_can() -> None:
    touched = caught_up(grace=0, quiet=0)
    names = [f"MARKET{n}-USDT" for n in range(84)]
    for second in range(0, 3_600, 60):
        for name in names:
            touched.touch(("binance", name, MINUTE + second), 1, now=0.0, since=MINUTE + second)
    steps = []
    while step := touched.due(9.0, MINUTE + 9_000, max_rows=350_000):
        assert len(repr([*step])) < MOST_BYTES
        steps.append(list(step))
    assert sorted(minute for step in steps for minute in step) == sorted(
        ("binance", name, MINUTE + second) for name in names for second in range(0, 3_600, 60)
    )
    assert len(steps) <= 3
    for name in range(5_000):
        touched.touch(("binance", f"MARKET{name}-USDT", MINUTE), 1, now=20.0, since=MINUTE)
    touched.reached = MINUTE + 30
    taken: list[Minute] = []
    while (seconds := touched.due_seconds(30.0, MINUTE + 30)) is not None:
        assert len(repr(seconds.minutes)) < MOST_BYTES
        taken += seconds.minutes
    assert len(taken) == len({*taken}) == 5_000


def test_a_minute_that_could_not_be_closed_has_waited_since_its_first_trade() -> None:
    touched = caught_up(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 5, now=100.0, since=MINUTE + 3)
    assert rows_of(touched.due(200.0, MINUTE + 161, max_rows=10)) == {minute: 5}
    assert touched.longest_wait(201.0, MINUTE + 162) == 101  # nor does it wait less while it is being closed
    touched.touch(minute, 2, now=201.0, since=MINUTE + 9)
    touched.give_back()
    assert touched.longest_wait(202.0, MINUTE + 163) == 102
    assert rows_of(touched.due(202.0, MINUTE + 163, max_rows=10)) == {minute: 7}
    assert touched.due(203.0, MINUTE + 164, max_rows=10) == {}
    assert touched.longest_wait(203.0, MINUTE + 164) == 0


def test_while_a_sink_catches_up_a_minute_waits_for_other_partitions_turns() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 5, now=100.0, since=MINUTE + 58)
    touched.fell_behind(100.9)
    touched.reached = MINUTE + 3_600.0
    assert touched.due(101.5, MINUTE + 3_600, max_rows=10) == {}
    assert touched.due_seconds(101.5, MINUTE + 100) is None
    assert rows_of(touched.due(101.9, MINUTE + 3_600, max_rows=10)) == {minute: 5}
    touched.touch(minute, 5, now=102.0, since=MINUTE + 58)
    touched.fell_behind(162.0)
    assert rows_of(touched.due(162.0, MINUTE + 3_600, max_rows=10)) == {minute: 5}
