"""The soak's rules catch what they are there to catch."""

from __future__ import annotations

import signal
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from tests.soak.judge import (
    MIB,
    Outcome,
    Step,
    Told,
    bucket_percentile,
    compare_stream,
    growth,
    merged,
    wrong_steps,
    wrong_with,
)
from tests.soak.schedule import KILLING_SHARE, blows


def life(seconds: int, size_at: float, per_second: float, *, noise: float = 0.0) -> list[tuple[float, float]]:
    random = Random(1)
    return [(second, size_at + second * per_second + random.uniform(-noise, noise)) for second in range(0, seconds, 5)]


def test_memory_that_wavers_is_flat() -> None:
    found = growth(life(600, 200 * MIB, 0.0, noise=10 * MIB), warm_up=60)
    assert found is not None and found.is_flat()


def test_memory_that_grows_is_not_flat_however_it_wavers() -> None:
    found = growth(life(1_800, 100 * MIB, MIB / 60, noise=5 * MIB), warm_up=60)
    assert found is not None and not found.is_flat()
    assert found.per_hour == pytest.approx(60 * MIB, rel=0.1)


def test_what_has_a_ceiling_may_grow_up_to_it_and_no_further() -> None:
    found = growth(life(600, 100 * MIB, MIB / 5), warm_up=60)
    assert found is not None and found.is_flat(220 * MIB) and not found.is_flat(219 * MIB - MIB)


def test_growth_while_warming_up_does_not_count() -> None:
    warming = [(second, second * MIB) for second in range(0, 100, 5)]
    steady = [(second, 100.0 * MIB) for second in range(100, 400, 5)]
    flat, steep = (growth([*warming, *steady], warm_up=warm_up) for warm_up in (100, 0))
    assert flat is not None and flat.fitted == pytest.approx(0)
    assert steep is not None and not steep.is_flat()


@pytest.mark.parametrize("seconds", [0, 5, 100])
def test_a_life_too_short_is_not_judged(seconds: int) -> None:
    assert growth(life(seconds, MIB, 0.0), warm_up=60) is None


TAPE = {"1": 10.0, "2": 11.0, "3": 12.0, "4": 13.0}


def test_a_stream_that_is_the_tape_differs_in_nothing() -> None:
    assert compare_stream(Told(11.0, ["2", "4", "3"]), TAPE).is_none


def test_a_missed_a_doubled_and_an_invented_trade_are_named() -> None:
    found = compare_stream(Told(11.0, ["2", "2", "4", "5"]), TAPE)
    assert (found.missed, found.doubled, found.invented) == (["3"], ["2"], ["5"])
    assert not found.is_none


def test_what_lacks_in_a_gap_that_was_told_is_no_loss_but_nothing_may_come_twice_there() -> None:
    found = compare_stream(Told(10.0, ["1", "4", "4"], gaps=[(10.5, 12.5)]), TAPE)
    assert (found.missed, found.doubled) == ([], ["4"])


def step(trade_id: str, delta: int, cvd: int | None) -> Step:
    return Step(trade_id, Decimal(delta), None if cvd is None else Decimal(cvd))


SNAPSHOT = Step("", None, Decimal(5))


def test_a_sum_that_goes_on_to_the_tapes_is_right_over_snapshots_and_times_without_one() -> None:
    steps = [Step("", None, None), step("1", 3, None), SNAPSHOT, step("2", -2, 3), SNAPSHOT, step("3", 1, 6)]
    assert wrong_steps(steps, Decimal(6)) == []


@pytest.mark.parametrize(
    ("steps", "final"),
    [
        ([SNAPSHOT, step("1", 1, 7)], 7),
        ([SNAPSHOT, step("1", 1, 6), step("1", 1, 7)], 7),
        ([SNAPSHOT, step("1", 1, 6)], 8),
        ([SNAPSHOT, step("1", 1, None)], 6),
    ],
    ids=["a step that does not add up", "a tick twice", "another end than the tape's", "a sum that was lost"],
)
def test_a_wrong_sum_is_seen(steps: list[Step], final: int) -> None:
    assert wrong_steps(steps, Decimal(final))


def filled(*quantities: str) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((Decimal(100), Decimal(quantity)) for quantity in quantities)


DONE = Outcome(
    "a", "buy", Decimal("0.3"), Decimal(101), "closed", "completed", Decimal("0.3"), filled("0.1", "0.1", "0.1")
)


def test_an_order_that_is_filled_exactly_and_one_that_expired_with_less_are_right() -> None:
    assert wrong_with(DONE) == []
    assert wrong_with(replace(DONE, close_reason="expired", filled=Decimal("0.2"), fills=filled("0.1", "0.1"))) == []


@pytest.mark.parametrize(
    "order",
    [
        replace(DONE, status="open", close_reason=""),
        replace(DONE, fills=filled("0.1", "0.1")),
        replace(DONE, filled=Decimal("0.4"), fills=filled("0.2", "0.2")),
        replace(DONE, filled=Decimal("0.2"), fills=filled("0.1", "0.1")),
        replace(DONE, limit_price=Decimal("99.99")),
        replace(DONE, side="sell", limit_price=Decimal("100.01")),
    ],
    ids=["open for ever", "another sum than its fills'", "too much", "complete with less", "bought dear", "sold cheap"],
)
def test_a_wrong_order_is_seen(order: Outcome) -> None:
    assert wrong_with(order)


def test_a_percentile_of_a_histogram_over_two_lives_is_its_buckets_bound() -> None:
    buckets = merged([{0.01: 90.0, 0.1: 99.0, float("inf"): 100.0}, {0.01: 100.0, 0.1: 100.0, float("inf"): 100.0}])
    assert [bucket_percentile(buckets, percent) for percent in (50, 99, 99.9)] == [0.01, 0.1, float("inf")]
    assert bucket_percentile({}, 99) is None


def test_blows_are_the_same_for_a_seed_hit_ingestors_mostly_and_end_in_time() -> None:
    struck = blows(7, ("binance", "okx"), 3_600.0)
    assert struck == blows(7, ("binance", "okx"), 3_600.0) != blows(8, ("binance", "okx"), 3_600.0)
    ingestors = [blow for blow in struck if blow.name.startswith("ingestor-")]
    assert {blow.signal for blow in ingestors} == {signal.SIGKILL}
    assert len(struck) / 2 < len(ingestors) < len(struck)
    assert max(blow.second for blow in struck) < 3_600 * KILLING_SHARE
