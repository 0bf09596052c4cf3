"""What a replay reads of history: each trade and bar once, and no more of them kept than may come again."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import pytest

from crosstape.common.market.bar import NANOSECONDS, Interval
from crosstape.stream_hub.kept import Kept
from crosstape.stream_hub.replay_sources import BarSource, TradeSource, Wanted
from crosstape.stream_hub.ring import Ring

h = import_module("services.stream-hub.tests.harness")
r = import_module("services.stream-hub.tests.replays")


async def passed(source, start, end):
    """When what happened (ns) in [start, end) Unix s, as a pass of a replay reads it."""
    return [moment async for moment, _ in source.items(start * NANOSECONDS, end * NANOSECONDS, h.PAGE)]


async def opens_of(source, interval, start, end):
    """The opens (Unix s) of the bars of a pass."""
    return [moment // NANOSECONDS - interval.seconds for moment in await passed(source, start, end)]


@pytest.mark.parametrize("interval", [Interval.S1, Interval.M1, Interval.M5, Interval.H1])
@pytest.mark.parametrize(
    ("quiet", "late"), [(0, 0), (1_830, 0), (0, 600)], ids=["open", "open without a trade yet", "history is late"]
)
async def test_bars_that_close_between_two_passes_are_sent_once(interval, quiet, late):
    history = h.FakeHistory()
    source = BarSource(r.market_of(), interval, history, r.LONG_AGO * NANOSECONDS)
    seam, end = r.LONG_AGO + 5_430, r.LONG_AGO + 10_800
    history.store(r.trades_at(range(r.LONG_AGO, seam - quiet, 10)))
    history.closed_until = (seam - late) // 60 * 60
    opens = await opens_of(source, interval, r.LONG_AGO, seam)
    history.store(r.trades_at([seam - 28, *range(seam, end, 10)]))
    history.closed_until = end
    opens += await opens_of(source, interval, seam - 12, end)
    assert opens == [bar.open_time for bar in history.all_bars("binance", "BTC-USDT", interval)]


async def test_bars_are_read_page_by_page_and_those_that_cannot_come_again_are_forgotten():
    history, minutes = h.FakeHistory(), 4 * h.PAGE
    end = r.LONG_AGO + minutes * 60
    history.store(r.trades_at(range(r.LONG_AGO, end, 60)))
    history.closed_until = end
    source = BarSource(r.market_of(), Interval.M1, history, r.LONG_AGO * NANOSECONDS)
    items = source.items(r.LONG_AGO * NANOSECONDS, end * NANOSECONDS, h.PAGE)
    assert (await anext(items))[0] == (r.LONG_AGO + 60) * NANOSECONDS
    assert history.asked == 1
    assert len([item async for item in items]) == minutes - 1
    assert list(source.sent) == [end - 60]
    for start in (end, end + 600):
        await passed(source, start, start + 600)
    assert not source.sent


async def test_trades_of_the_seam_are_sent_once_and_forgotten_behind_it():
    history = h.FakeHistory()
    history.store(r.trades_at(range(r.LONG_AGO, r.LONG_AGO + 400)))
    source = TradeSource(r.market_of(), history, r.message, r.LONG_AGO * NANOSECONDS)
    moments = await passed(source, r.LONG_AGO, r.LONG_AGO + 200)
    assert list(source.sent) == list(range(r.LONG_AGO + 188, r.LONG_AGO + 200))
    moments += await passed(source, r.LONG_AGO + 188, r.LONG_AGO + 400)
    assert moments == [(r.LONG_AGO + number) * NANOSECONDS for number in range(400)]
    await passed(source, r.LONG_AGO + 388, r.LONG_AGO + 600)
    assert list(source.sent) == list(range(r.LONG_AGO + 388, r.LONG_AGO + 400))


async def test_old_trade_that_a_repair_brought_is_known_as_sent_while_the_ring_has_it():
    history, market = h.FakeHistory(), r.market_of()
    repaired, other = r.trades_at([r.LONG_AGO, r.LONG_AGO + 1])
    history.store([repaired])
    market.take_trades([repaired, other], 1, 0)
    source = TradeSource(market, history, r.message, r.LONG_AGO * NANOSECONDS)
    await passed(source, r.LONG_AGO, r.LONG_AGO + 200)
    assert (source.is_new(repaired), source.is_new(other)) == (False, True)
    await passed(source, r.LONG_AGO + 188, r.LONG_AGO + 400)
    assert not source.is_new(repaired)
    market.ticks.restart(0)
    await passed(source, r.LONG_AGO + 388, r.LONG_AGO + 600)
    assert not source.sent


@pytest.mark.parametrize("ids", [range(20_000), [number // 2 for number in range(20_000)]], ids=["each once", "twice"])
def test_no_more_is_kept_of_what_a_replay_may_meet_again_than_the_ring_has(ids):
    ring = Ring(int, 1_000, 300.0, 0)
    kept = Kept(ring, lambda entry: entry)
    for place, one in enumerate(ids, 1):
        ring.append(place, 0, one)
        if place % 100 == 0:
            assert set(kept.now()) == {entry for _, entry in ring}
    ring.restart(5)
    ring.append(6, 0, 7)
    assert set(kept.now()) == {7}


def test_replays_of_one_market_share_what_the_ring_holds():
    market = r.market_of()
    first = TradeSource(market, h.FakeHistory(), r.message, 0)
    assert TradeSource(market, h.FakeHistory(), r.message, 0)._kept is first._kept


def test_a_replay_of_another_log_knows_nothing_of_what_the_ring_held_before():
    market = r.market_of()
    before = market.kept_trades()
    market.take_trades([h.trade(1), h.trade(2)], 1, 0)
    before.now()
    market.restart()
    market.take_trades([h.trade(3)], 0, 0)
    market.take_trades([h.trade(4)], 2, 0)
    assert set(market.kept_trades().now()) == {3, 4}


async def test_source_of_a_channel_that_was_left_is_read_no_further():
    history = h.FakeHistory()
    history.store(r.trades_at(range(r.LONG_AGO, r.LONG_AGO + 4 * h.PAGE)))
    part = SimpleNamespace(has_left=False)
    source = Wanted(TradeSource(r.market_of(), history, r.message, r.LONG_AGO * NANOSECONDS), part)
    items = source.items(r.LONG_AGO * NANOSECONDS, (r.LONG_AGO + 4 * h.PAGE) * NANOSECONDS, h.PAGE)
    _, make = await anext(items)
    assert make() is not None
    part.has_left = True
    assert (make(), await anext(items, None)) == (None, None)
