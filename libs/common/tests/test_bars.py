"""Bars are a pure function of the tape, and every second belongs to exactly one bar."""

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.bar import NANOSECONDS, Bar, Interval, fold_bars
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START, tapes

intervals = st.sampled_from(Interval)
seconds = st.integers(0, 9_000_000_000)


@given(tapes(), st.sampled_from([Interval.S1, Interval.M1, Interval.M3]), st.data())
def test_any_order_and_any_repeats_give_the_same_bars(
    tape: list[Trade], interval: Interval, data: st.DataObject
) -> None:
    repeats = data.draw(st.lists(st.sampled_from(tape), max_size=20)) if tape else []
    assert fold_bars(data.draw(st.permutations(tape + repeats)), interval) == fold_bars(tape, interval)


@given(tapes())
def test_splitting_the_tape_between_bars_changes_no_bar(tape: list[Trade]) -> None:
    parts: dict[int, list[Trade]] = {}
    for trade in tape:
        parts.setdefault(Interval.M1.open_time(trade.time // NANOSECONDS), []).append(trade)
    assert [bar for second in sorted(parts) for bar in fold_bars(parts[second], Interval.M1)] == fold_bars(
        tape, Interval.M1
    )


@given(tapes())
def test_low_is_at_most_open_and_close_and_high_at_least(tape: list[Trade]) -> None:
    for bar in fold_bars(tape, Interval.M1):
        low, opened, close, high = map(Decimal, (bar.low, bar.open, bar.close, bar.high))
        assert low <= min(opened, close) <= max(opened, close) <= high


@given(tapes(seconds=50))
def test_buys_and_sells_and_unknown_add_up_to_volume(tape: list[Trade]) -> None:
    for bar in fold_bars(tape, Interval.M1):
        volume = {side: sum(Fraction(t.quantity) for t in tape if t.side == side) for side in TakerSide}
        assert Fraction(bar.volume) == sum(volume.values())
        assert Fraction(bar.volume_delta) == volume[TakerSide.BUY] - volume[TakerSide.SELL]
        assert Fraction(bar.volume_unknown) == volume[TakerSide.UNKNOWN]
        assert abs(Fraction(bar.volume_delta)) + Fraction(bar.volume_unknown) <= Fraction(bar.volume)


@given(tapes())
def test_every_trade_is_in_exactly_one_bar(tape: list[Trade]) -> None:
    bars = fold_bars(tape, Interval.M1)
    assert sum(bar.trades for bar in bars) == len(tape)
    assert all(bar.trades >= 1 for bar in bars)
    assert [bar.open_time for bar in bars] == sorted({t.time // NANOSECONDS // 60 * 60 for t in tape})


@given(tapes())
def test_longer_bars_hold_what_their_shorter_ones_hold(tape: list[Trade]) -> None:
    def rolled(bars: list[Bar]) -> tuple[str, Fraction, Fraction, Fraction, Fraction, str]:
        return (
            bars[0].open,
            max(Fraction(bar.high) for bar in bars),
            min(Fraction(bar.low) for bar in bars),
            sum((Fraction(bar.volume) for bar in bars), Fraction()),
            sum((Fraction(bar.volume_delta) for bar in bars), Fraction()),
            bars[-1].close,
        )

    minutes = fold_bars(tape, Interval.M1)
    for bar in fold_bars(tape, Interval.M3):
        assert rolled([bar]) == rolled([m for m in minutes if 0 <= m.open_time - bar.open_time < 180])


def test_open_and_close_go_by_time_then_id_with_numbered_ids_before_texts() -> None:
    moment = START
    tape = [make_trade(i, time=moment, price=p) for i, p in (("b", "5"), (10, "2"), ("a", "4"), (9, "1"), (11, "3"))]
    (bar,) = fold_bars(tape, Interval.M1)
    assert (bar.open, bar.close, bar.first_trade_id, bar.last_trade_id) == ("1", "5", 9, "b")


def test_volume_is_exact_to_the_last_of_38_digits() -> None:
    large, small = "12345678901234567890.000000000000000001", "0.000000000000000001"
    tape = [make_trade(1, quantity=large), make_trade(2, quantity=small), make_trade(3, quantity=large)]
    (bar,) = fold_bars(tape, Interval.M1)
    assert bar.volume == bar.volume_delta == "24691357802469135780.000000000000000003"


def test_markets_do_not_mix() -> None:
    tape = [make_trade(1), make_trade(1, exchange="okx"), make_trade(1, symbol="ETH-USDT")]
    assert [(bar.exchange, bar.symbol, bar.trades) for bar in fold_bars(tape, Interval.M1)] == [
        ("binance", "BTC-USDT", 1),
        ("binance", "ETH-USDT", 1),
        ("okx", "BTC-USDT", 1),
    ]


@given(intervals, seconds)
def test_every_second_belongs_to_exactly_one_bar(interval: Interval, second: int) -> None:
    opened = interval.open_time(second)
    closed = interval.close_time(opened)
    assert opened <= second < closed
    assert closed - opened <= interval.seconds
    assert interval.open_time(opened) == opened == interval.open_time(closed - 1)
    assert interval.open_time(closed) == closed
    assert interval.open_time(opened - 1) < opened


@given(st.sampled_from([i for i in Interval if i not in (Interval.W1, Interval.MO1)]), seconds)
def test_a_bar_opens_on_a_multiple_of_its_length(interval: Interval, second: int) -> None:
    assert interval.open_time(second) % interval.seconds == 0


@given(seconds)
def test_a_week_opens_on_monday_and_a_month_on_the_first_at_midnight(second: int) -> None:
    week = dt.datetime.fromtimestamp(Interval.W1.open_time(second), dt.UTC)
    month = dt.datetime.fromtimestamp(Interval.MO1.open_time(second), dt.UTC)
    assert (week.weekday(), week.time()) == (0, dt.time())
    assert (month.day, month.time()) == (1, dt.time())


@pytest.mark.parametrize(
    ("year", "month", "days"),
    [(2024, 2, 29), (2025, 2, 28), (2000, 2, 29), (2100, 2, 28), (2025, 12, 31), (2025, 4, 30)],
)
def test_a_month_is_as_long_as_the_calendar_says(year: int, month: int, days: int) -> None:
    opened = int(dt.datetime(year, month, 1, tzinfo=dt.UTC).timestamp())
    assert Interval.MO1.close_time(opened) - opened == days * 86_400


def test_the_intervals_are_those_of_the_contract() -> None:
    assert " ".join(Interval) == "1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
