"""The consolidated tape: its sums are of one day, and what was missed of it is read piece by piece."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.testing.builders import make_trade
from crosstape.stream_hub import messages
from crosstape.stream_hub.day_sums import DaySums
from crosstape.stream_hub.encoding import STRINGS
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.market import MarketState, RingSize
from crosstape.stream_hub.tape import Tape

MIDNIGHT = 1_751_328_000
EXCHANGES = "binance", "kraken", "okx"
MOMENTS = st.lists(st.tuples(st.sampled_from(EXCHANGES), st.integers(-9, 9)), max_size=60)


def filled(moments: list[tuple[str, int]]) -> Tape:
    """The tape of three markets with a bought unit at each of the moments, in seconds from midnight."""
    markets = {}
    for exchange in EXCHANGES:
        markets[exchange] = MarketState(exchange, "BTC-USDT", Outbox(), RingSize(1_000, 300.0), 0.0)
        markets[exchange].flow.found([], MIDNIGHT - 86_400)
    for number, (exchange, second) in enumerate(sorted(moments, key=lambda one: (one[1], one[0]))):
        trade = make_trade(number, exchange=exchange, time=(MIDNIGHT + second) * NANOSECONDS, quantity="1")
        markets[exchange].take_trades([trade], number + 1, 0)
    return Tape("trades:*:BTC-USDT", list(markets.values()), Outbox())


def read(tape: Tape, since: str, most: int) -> list[dict]:
    behind, told = tape.behind(since), []
    while part := behind.read(most):
        told += [dict(build(STRINGS)) for _, build in part]
    assert behind.offset == tape.offset
    return told


@given(MOMENTS, st.integers(1, 7), st.data())
def test_what_was_missed_is_the_same_in_pieces_of_any_size_from_any_offset(moments, most, data):
    tape = filled(moments)
    whole = read(tape, tape.kept().offset, 1_000)
    assert [one["trade_id"] for one in whole] == list(range(len(moments)))
    start = data.draw(st.integers(0, len(whole)))
    since = whole[start - 1]["offset"] if start else tape.kept().offset
    assert read(tape, since, most) == whole[start:]


@given(MOMENTS)
def test_sums_are_those_of_the_day_of_the_newest_trade(moments):
    told = read(tape := filled(moments), tape.kept().offset, 1_000)
    seconds = sorted(second for _, second in moments)
    for place, one in enumerate(told):
        of_the_day = [second for second in seconds[: place + 1] if (second < 0) == (seconds[place] < 0)]
        assert Decimal(one["cvd_total"]) == len(of_the_day)


@given(st.lists(st.decimals(min_value="-1e20", max_value="1e20", places=18, allow_nan=False), min_size=1, max_size=4))
def test_the_total_is_as_exact_as_what_it_sums_up(sums):
    named = dict(zip("abcd", sums, strict=False)) | {"unknown": None}
    told = messages.tape_trade("trades:*:X", make_trade(1), None, named, is_late=False)(STRINGS)
    assert Fraction(told["cvd_total"]) == sum(map(Fraction, sums))


def test_a_trade_that_a_wrong_clock_dates_ahead_begins_no_day():
    now = MIDNIGHT * NANOSECONDS - 1
    sums = DaySums({"okx": Decimal(5), "kraken": Decimal(7)}, MIDNIGHT // 86_400 - 1)
    ahead, normal = (make_trade(one, exchange="okx", time=now + one * 3_600 * NANOSECONDS) for one in (1, 0))
    assert sums.stand(ahead, Decimal(1), now) == {"okx": 5, "kraken": 7}
    assert sums.add(normal, Decimal(2), now) == {"okx": 7, "kraken": 7}
    assert sums.stand(ahead, Decimal(1), now + 1) == {"okx": 1, "kraken": 0}


def test_offset_that_the_tape_never_had_or_has_let_go_is_not_whole():
    tape = filled([("okx", 1), ("okx", 2)])
    assert tape.behind(tape.offset).is_whole
    tape.markets["okx"].ticks.restart(tape.markets["okx"].ticks.newest)
    assert not tape.behind(tape.kept().offset.replace("okx:", "okx:-")).is_whole
    assert not tape.behind("okx:99999999999999").is_whole
