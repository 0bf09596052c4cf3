"""Longer bars: where they close and are revised, the same for everybody who asks, whenever they ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.bar import Interval
from crosstape.stream_hub.positions import LATER, position
from crosstape.stream_hub.tellings import QUIET_SECONDS, SETTLED_SECONDS, Remembered, StoredMinute, behind, tellings

LONG_AFTER = 1e9


def minute(offset, number, written=None, *, is_close=True):
    """Minute `number`, written a second after its end unless it is said otherwise."""
    return StoredMinute(position(offset, 0), 60 * number + 61 if written is None else written, 60 * number, is_close)


def told(minutes, now=LONG_AFTER, interval=Interval.M5):
    return [(one.position >> 16, one.kind, one.open_time) for one in tellings(minutes, interval, now).tellings]


def test_longer_bar_closes_with_its_last_minute_and_is_revised_by_later_ones():
    minutes = [minute(1, 0), minute(2, 1), minute(3, 4), minute(4, 2, written=400, is_close=False)]
    found = tellings(minutes, Interval.M5, LONG_AFTER).tellings
    assert told(minutes) == [(3, "bar_close", 0), (4, "bar_revision", 0)]
    assert [(one.position >> 16, one.kind) for one in behind(found, 0)] == [(4, "bar_close")]
    assert [(one.position >> 16, one.kind) for one in behind(found, position(3, 0))] == [(4, "bar_revision")]


def test_longer_bar_without_its_last_minute_closes_a_while_after_its_end_and_stays_there():
    minutes = [minute(1, 0), minute(2, 1)]
    assert told(minutes, now=300 + QUIET_SECONDS) == []
    (close,) = tellings(minutes, Interval.M5, 300 + SETTLED_SECONDS).tellings
    assert (close.position, close.kind) == (position(2, 0) | LATER, "bar_close")
    later = [*minutes, minute(3, 7), minute(4, 1, written=600, is_close=False)]
    assert tellings(later, Interval.M5, LONG_AFTER).tellings[0] == close
    assert told(later, now=600)[1:] == [(4, "bar_revision", 0)]


def test_last_minute_that_history_stores_late_revises_the_bar_that_was_closed_without_it():
    minutes = [minute(1, 0), minute(2, 4, written=330)]
    assert told(minutes) == [(1, "bar_close", 0), (2, "bar_revision", 0)]


def test_bar_whose_minutes_are_all_stored_long_after_it_closes_with_the_last():
    minutes = [minute(offset, offset - 1, written=5_000) for offset in range(1, 6)]
    assert told(minutes) == [(5, "bar_close", 0)]


def test_late_minute_of_a_bar_that_closed_before_what_is_kept_is_a_revision():
    minutes = [minute(1, 50), minute(2, 2, written=3_070, is_close=False)]
    assert told(minutes, now=3_100) == [(2, "bar_revision", 0)]


def test_nothing_is_told_behind_a_close_that_is_still_to_come():
    minutes = [minute(1, 6), minute(2, 1, written=600 + QUIET_SECONDS, is_close=False)]
    assert told(minutes, now=600 + QUIET_SECONDS) == []
    assert told(minutes, now=600 + SETTLED_SECONDS) == [(1, "bar_close", 300), (2, "bar_revision", 0)]


STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 2, 3, 7, 20]), st.floats(0.5, 200), st.booleans()), min_size=1, max_size=25
)


@given(STEPS, st.sampled_from([Interval.M3, Interval.M5, Interval.M15]), st.data())
def test_whoever_comes_back_at_any_time_is_told_everything_once(steps, interval, data):
    """A hub tells what is due whenever it looks; a client that was away is told the rest, and nothing that it has."""
    log, now, bars, live, since = [], 60.0, Remembered(interval), [], None
    for offset, (back, pause, is_close) in enumerate(steps, 1):
        now += pause
        log.append(minute(offset, max(0, int(now // 60) - 1 - back), written=now, is_close=is_close))
        now += data.draw(st.floats(0, SETTLED_SECONDS - QUIET_SECONDS - 0.1))
        bars.look(log, -1, log[-1].position, now)
        live += bars.behind(max((one.position for one in live), default=-1))
        if since is None and data.draw(st.booleans()):
            since, heard = max((one.position for one in live), default=-1), list(live)
    if since is None:
        return
    bars.look(log, -1, log[-1].position, now + 10_000)
    ever, missed = bars.behind(-1), bars.behind(since)
    assert newest([*heard, *missed]) == newest(ever)
    assert newest(heard) == newest(one for one in tellings(log, interval, LONG_AFTER).tellings if one.position <= since)
    closed = {one.open_time for one in heard}
    assert not [one for one in missed if one.kind == "bar_close" and one.open_time in closed]


def newest(found):
    """The position of what was told last of each bar."""
    return {one.open_time: one.position for one in sorted(found, key=lambda one: one.position)}


def test_long_bars_are_remembered_longer_than_the_minutes_they_come_from():
    bars = Remembered(Interval.H1)
    minutes = [minute(offset, offset) for offset in range(60, 190)]
    for end in range(1, len(minutes) + 1):
        kept = minutes[max(0, end - 5) : end]
        bars.look(kept, kept[0].position - 1, kept[-1].position, kept[-1].written)
    first_close = position(119, 0)
    assert [(one.position, one.open_time) for one in bars.behind(first_close)] == [(position(179, 0), 7_200)]
    assert bars.behind(position(185, 0)) == []


def test_what_left_before_anybody_looked_is_not_said_to_be_known():
    bars = Remembered(Interval.M5)
    bars.look([minute(1, 0)], -1, position(1, 0), 61)
    bars.look([minute(9, 60)], position(8, 0), position(9, 0), 3_700)
    assert bars.behind(position(1, 0)) is None
    assert bars.behind(position(8, 0)) is None  # a clock may have added something to it
    assert bars.behind(position(9, 0)) == []


def test_bar_that_nobody_listened_to_while_it_closed_quietly_is_known():
    bars = Remembered(Interval.H1)
    bars.look([minute(1, 10)], -1, position(1, 0), 700)
    bars.look([minute(2, 70)], position(1, 0), position(2, 0), 4_300)
    assert [(one.position, one.open_time) for one in bars.behind(position(1, 0))] == [(position(1, 0) | LATER, 0)]


def test_late_minute_of_a_bar_that_closed_quietly_and_is_kept_no_longer_revises_it():
    bars = Remembered(Interval.H1)
    bars.look([minute(1, 10)], -1, position(1, 0), 3_700)
    bars.look([minute(2, 20, written=6_000)], position(1, 0), position(2, 0), 6_001)
    assert [(one.kind, one.position) for one in bars.behind(position(1, 0) | LATER)] == [
        ("bar_revision", position(2, 0))
    ]


def test_only_so_many_tellings_are_remembered():
    bars = Remembered(Interval.M5)
    minutes = [minute(offset, 5 * offset + 4) for offset in range(1, 101)]
    for end in range(1, len(minutes) + 1):
        kept = minutes[max(0, end - 2) : end]
        bars.look(kept, kept[0].position - 1, kept[-1].position, kept[-1].written)
    assert bars.behind(position(10, 0)) is None
    assert len(bars.behind(bars.floor)) <= 24
