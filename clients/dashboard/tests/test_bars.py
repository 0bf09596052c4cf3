"""The chart's bars: each trade once, whatever overlaps; the running delta only from where it is known."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from clients.dashboard.tests.samples import NOON, bar
from crosstape.client import CvdTick
from crosstape.dashboard.bars import MOST_BARS, BarSeries, cvd_of
from crosstape.dashboard.intervals import DAY, INTERVALS, open_of, seconds_of


def tick(timestamp: str, price: str, delta: str, side: Literal["buy", "sell", "unknown"] = "buy") -> CvdTick:
    return CvdTick(
        exchange="binance",
        symbol="BTC-USDT",
        trade_id=1,
        timestamp=Decimal(timestamp),
        price=Decimal(price),
        quantity=abs(Decimal(delta)) or Decimal(3),
        side=side,
        volume_delta=Decimal(delta),
        cvd=None,
        offset=1,
    )


@given(st.integers(min_value=0, max_value=4_000_000_000), st.sampled_from(INTERVALS))
def test_a_bar_opens_at_or_before_each_of_its_moments_and_the_next_one_behind_it(moment: int, interval: str) -> None:
    known = next(one for one in INTERVALS if one == interval)
    opened = open_of(moment, known)
    assert opened <= moment < opened + seconds_of(known) + 3 * DAY * (interval == "1M")
    assert open_of(opened, known) == opened


def test_weeks_open_on_monday_and_months_on_the_first() -> None:
    moment = int(dt.datetime(2026, 11, 25, 13, tzinfo=dt.UTC).timestamp())
    assert dt.datetime.fromtimestamp(open_of(moment, "1w"), dt.UTC) == dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    assert dt.datetime.fromtimestamp(open_of(moment, "1M"), dt.UTC) == dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def test_trades_that_history_holds_already_count_once() -> None:
    series = BarSeries("1m")
    snapshot = bar(NOON, "1", status="provisional")
    with_later_trade = bar(NOON, "3", status="provisional")
    series.begin([bar(NOON - 60), with_later_trade], snapshot, NOON + 5)
    series.tick(tick(f"{NOON + 6}.5", "12", "2"))
    assert [one.volume_delta for one in series.bars] == [Decimal(0), Decimal(3)]
    assert (series.bars[-1].high, series.bars[-1].close, series.bars[-1].trades) == (Decimal(12), Decimal(12), 2)


def test_a_trade_of_a_new_minute_opens_a_bar_and_a_late_one_changes_nothing() -> None:
    series = BarSeries("1m")
    series.begin([], bar(NOON, "1", status="provisional"), NOON)
    series.tick(tick(str(NOON + 60), "11", "-4", "sell"))
    series.tick(tick(str(NOON + 59), "99", "9"))
    assert [(one.timestamp, one.volume_delta, one.high) for one in series.bars] == [
        (NOON, Decimal(1), Decimal(10)),
        (NOON + 60, Decimal(-4), Decimal(11)),
    ]


def test_a_closed_bar_replaces_what_was_counted_and_is_not_changed_by_trades() -> None:
    series = BarSeries("1m")
    series.begin([], bar(NOON, "1", status="provisional"), NOON)
    version = series.version
    series.put(bar(NOON, "7"))
    series.tick(tick(str(NOON + 1), "99", "9"))
    assert [one.volume_delta for one in series.bars] == [Decimal(7)]
    assert series.version == version


def test_an_older_revision_makes_a_new_version() -> None:
    series = BarSeries("1m")
    series.begin([bar(NOON - 60 * n) for n in range(5, 0, -1)], bar(NOON, status="provisional"), NOON)
    version = series.version
    series.put(bar(NOON - 240, "5"))
    assert series.version == version + 1
    assert series.bars[1].volume_delta == Decimal(5)


def test_a_trade_of_unknown_side_counts_in_the_volume_only() -> None:
    series = BarSeries("1m")
    series.begin([], None, NOON)
    series.tick(tick(str(NOON), "10", "0", "unknown"))
    assert (series.bars[0].volume, series.bars[0].volume_delta, series.bars[0].volume_unknown) == (3, 0, 3)


def test_older_bars_are_put_in_front_once_and_never_more_than_fit() -> None:
    series = BarSeries("1m")
    series.begin([bar(NOON - 60)], bar(NOON, status="provisional"), NOON)
    assert series.prepend([bar(NOON - 120), bar(NOON - 60)])
    assert [one.timestamp for one in series.bars] == [NOON - 120, NOON - 60, NOON]
    assert not series.prepend([bar(NOON - 120)])
    series.prepend([bar(NOON - 60 * n) for n in range(2 * MOST_BARS, 2, -1)])
    assert len(series.bars) == MOST_BARS


def test_reconnecting_keeps_older_bars_and_takes_the_newer_ones_from_history() -> None:
    series = BarSeries("1m")
    series.begin([bar(NOON - 120)], bar(NOON - 60, "1", status="provisional"), NOON - 60)
    series.begin([bar(NOON - 60, "4")], bar(NOON, "2", status="provisional"), NOON)
    assert [(one.timestamp, one.volume_delta) for one in series.bars] == [
        (NOON - 120, Decimal(0)),
        (NOON - 60, Decimal(4)),
        (NOON, Decimal(2)),
    ]


def test_cvd_ends_at_the_platforms_own_sum() -> None:
    bars = [bar(NOON + 60 * n, delta) for n, delta in enumerate(("1", "-2", "0.5"))]
    assert cvd_of(bars, Decimal("10"), "1m") == [Decimal("11.5"), Decimal("9.5"), Decimal("10")]


def test_cvd_of_a_day_whose_start_is_not_loaded_is_not_known() -> None:
    yesterday, today = [bar(NOON - 60, "5")], [bar(20_001 * DAY, "1"), bar(20_001 * DAY + 60, "2")]
    assert cvd_of([*yesterday, *today], None, "1m") == [None, Decimal(1), Decimal(3)]


def test_cvd_of_days_is_one_sum() -> None:
    bars = [bar(20_000 * DAY, "1"), bar(20_001 * DAY, "2")]
    assert cvd_of(bars, Decimal(99), "1d") == [Decimal(1), Decimal(3)]
