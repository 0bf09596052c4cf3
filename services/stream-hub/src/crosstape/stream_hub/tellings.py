"""Tellings: what stored minutes say of the longer bars that they are parts of, and where that stands in their channel.

A position is a matter of the log alone, whoever asks and whenever: so nobody who comes back is told anything twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from crosstape.common.market.bar import Interval
from crosstape.stream_hub.flow import MINUTE
from crosstape.stream_hub.positions import LATER

QUIET_SECONDS = 4.0
"""After so long the last minute of a bar had no trade, or its record would have been written."""
SETTLED_SECONDS = QUIET_SECONDS + 2.0
"""After so long everything has been read that was written by then."""
REMEMBERED = 20
"""Tellings that are remembered longer than the minutes they come from."""

Kind = Literal["bar_close", "bar_revision"]


class StoredMinute(NamedTuple):
    """A minute (it opens at `open_time`, Unix s) as it was told: where, when its record was written (Unix s), and
    whether for the first time."""

    position: int
    written: float
    open_time: int
    is_close: bool


class Telling(Struct, frozen=True):
    """The bar that opens at `open_time` (Unix s) is to be told, at `position` of its channel."""

    position: int
    kind: Kind
    open_time: int


class Found(NamedTuple):
    """What is to be told, by position; where each of these bars closed, by its open time (-1 is before all that is
    known); and `until`: no telling that is still to come will stand at or before it."""

    tellings: list[Telling]
    closes: dict[int, int]
    until: int


def tellings(
    minutes: Sequence[StoredMinute], interval: Interval, now: float, closed: Mapping[int, int] | None = None
) -> Found:
    """What the minutes, in their order, say about the closed bars they are parts of at `now` (Unix s). Of bars that are
    `closed` it is known where. A bar of five minutes, 12:00 to 12:05, may close in three ways:

    - with its last minute. 12:03 is written at 12:04:01, 12:04 at 12:05:01: that record is the close. If 12:01 is
      written again at 12:09, that record is a revision.
    - quietly, as its last minute had no trade. 12:03 is written at 12:04:01, then nothing until 12:05:04: the close
      stands behind the last minute of any bar that is there by then, here 12:03. It has no record of its own and is
      told at 12:05:06. Whatever of the bar is written from 12:05:04 on is a revision.
    - in a late burst, as history was behind. 12:00 is the first that is written, at 12:30:00, and counts as the end:
      12:04, written at 12:30:01, is the close. Without it, the close stands behind all that is written by 12:30:04.
      But if 12:00 had been written before, and that is not kept any more, the bar has closed before all that is known.
    """
    parts: dict[int, list[StoredMinute]] = {}
    for minute in minutes:
        parts.setdefault(interval.open_time(minute.open_time), []).append(minute)
    closes: dict[int, int] = {}
    limit = 1 << 62  # where the first of those that are still open may yet close
    for open_time, own in parts.items():
        end = interval.close_time(open_time)
        is_late = own[0].written >= end + QUIET_SECONDS
        over = max(end, own[0].written)
        deadline = over + QUIET_SECONDS
        last = [one.position for one in own if one.open_time + MINUTE >= end and one.written < deadline]
        if closed is not None and open_time in closed:
            closes[open_time] = closed[open_time]
        elif is_late and not own[0].is_close:
            closes[open_time] = -1  # these are revisions of what was told before
        elif last and now >= end:
            closes[open_time] = min(last)
        else:
            quiet = max(one.position for one in minutes if one.written < deadline) | LATER
            if now >= over + SETTLED_SECONDS:
                closes[open_time] = quiet
            else:
                limit = min(limit, quiet)
    closes = {open_time: close for open_time, close in closes.items() if close < limit}
    told = [Telling(close, "bar_close", open_time) for open_time, close in closes.items() if close >= 0]
    for open_time, close in closes.items():
        later = [one.position for one in parts[open_time] if close < one.position < limit]
        told += [Telling(position, "bar_revision", open_time) for position in later]
    places = [minute.position for minute in minutes] + [telling.position for telling in told]
    return Found(sorted(told, key=_order), closes, min(limit - 1, max(places, default=-1)))


def behind(told: Iterable[Telling], position: int) -> list[Telling]:
    """Of tellings in their order those after a position, each bar once, as it was last told; a close stays one."""
    newest: dict[int, Telling] = {}
    for telling in told:
        if telling.position > position:
            before = newest.get(telling.open_time)
            kind = before.kind if before else telling.kind
            newest[telling.open_time] = Telling(telling.position, kind, telling.open_time)
    return sorted(newest.values(), key=_order)


def _order(telling: Telling) -> tuple[int, int]:
    return telling.position, telling.open_time


class Remembered:
    """The tellings of one market's bars of one interval, also of minutes that are kept no longer: long bars are told so
    seldom that whoever comes back would hardly ever find where it was.

    `floor` and `until` are positions. Every telling after `floor` is here, as far as it has come yet; no telling that
    is still to come will stand at or before `until`.
    """

    def __init__(self, interval: Interval):
        self._interval = interval
        self._told: dict[tuple[int, int], Telling] = {}
        self._closes: dict[int, int] = {}
        self._open: dict[int, StoredMinute] = {}  # the newest of each bar that is not closed
        self._seen = -2  # below every position
        self.floor = self.until = -1

    def look(self, minutes: Sequence[StoredMinute], floor: int, newest: int, now: float) -> None:
        """Take note of what is kept at `now` (Unix s): the minutes after the position `floor`, up to `newest`."""
        if self._seen < floor:  # some went before anybody looked at them
            self._told, self._closes, self._open = {}, {}, {}
            self.floor = floor | LATER  # a quiet close that stood behind the last record that went is lost as well
        self._seen = newest
        known = [*(minute for minute in self._open.values() if minute.position <= floor), *minutes]
        found = tellings(known, self._interval, now, self._closes)
        self._told |= {_order(telling): telling for telling in found.tellings}
        self._closes |= found.closes
        opens = {self._interval.open_time(minute.open_time): minute for minute in known}
        self._open = {open_time: minute for open_time, minute in opens.items() if open_time not in self._closes}
        self.until = max(self.floor, found.until if known else newest, *(place for place, _ in self._told))
        self._forget(floor)

    def _forget(self, floor: int) -> None:
        """What the minutes do not say any more is remembered for a while."""
        old = sorted(place for place in self._told if place[0] <= floor)
        for place in old[:-REMEMBERED]:
            self.floor = place[0]
            del self._told[place]
        kept = {open_time for _, open_time in self._told}
        self._closes = {open_time: close for open_time, close in self._closes.items() if open_time in kept}

    def behind(self, position: int) -> list[Telling] | None:
        """What was told after a position, each bar once; None when some of it may be forgotten."""
        return None if position < self.floor else self.after(position)

    def after(self, position: int) -> list[Telling]:
        """Those of them that are known."""
        return behind([self._told[place] for place in sorted(self._told)], position)
