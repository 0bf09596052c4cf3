"""The consolidated tape: one symbol's trades on all exchanges, merged by event time, with the volume delta of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from heapq import merge
from itertools import islice

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.trade import Trade
from crosstape.stream_hub import messages
from crosstape.stream_hub.day_sums import DaySums, day_of
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.flow import DAY
from crosstape.stream_hub.market import MarketState, Tick
from crosstape.stream_hub.merge import TimeMerge
from crosstape.stream_hub.numbers import EXACT

HOLD_SECONDS = 0.1
"""How long a trade waits for an earlier one of another exchange."""
LONGEST_PLACE = 20
"""Characters of a position: more than any has, and few enough to be read at once."""


class Tape:
    """The merged trades of `markets`, one of each exchange, for a group of members.

    Its offset is text, the position of the newest trade of every exchange: what was released is the beginning of every
    market's own channel, so those rings serve recovery.
    """

    def __init__(self, channel: str, markets: Sequence[MarketState], outbox: Outbox):
        self.channel = channel
        self.markets = {market.exchange: market for market in markets}
        self.group = Group(outbox)
        self._merge: TimeMerge[Tick] = TimeMerge(self.markets, HOLD_SECONDS)
        self._positions = {exchange: market.ticks.newest for exchange, market in self.markets.items()}
        now = time.time_ns()
        newest = max((market.ticks.last.trade.time for market in markets if market.ticks.last), default=now)
        self._sums = _sums_before(self.markets, day_of(min(newest, now)), {})
        self._timer: asyncio.TimerHandle | None = None
        for market in markets:
            market.tick_listeners[self] = None

    def close(self) -> None:
        """Nobody listens any more."""
        for market in self.markets.values():
            market.tick_listeners.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def offset(self) -> str:
        return offset_text(self._positions)

    def tick(self, tick: Tick) -> None:
        """A trade of one of the markets."""
        now = asyncio.get_running_loop().time()
        self._merge.offer(tick.trade.exchange, tick.trade.time, tick, now)
        if self._timer is None:
            self._release()

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for tick, is_late in self._merge.take(loop.time()):
            self.group.publish(self._message(tick, is_late=is_late))
        wait = self._merge.wait(loop.time())
        if wait is not None:
            self._timer = loop.call_later(wait, self._release)

    def _message(self, tick: Tick, *, is_late: bool) -> Build:
        self._positions[tick.trade.exchange] = tick.position
        return _message(self.channel, tick, self._sums, self.offset, is_late=is_late)

    def settle(self) -> None:
        """Release what is held: then the tape stands where its markets stand, and somebody may join."""
        for tick, is_late in self._merge.drain():
            self.group.publish(self._message(tick, is_late=is_late))

    def kept(self) -> Behind:
        """Everything that is still in the rings."""
        return Behind(self, {exchange: market.ticks.floor for exchange, market in self.markets.items()})

    def behind(self, since: str) -> Behind:
        """What follows an offset. Raises ValidationFailed for what is none."""
        known = read_offset(since)
        return Behind(self, {exchange: known.get(exchange, -1) for exchange in self.markets})


class Behind:
    """The trades of a tape behind some positions, read piece by piece: nobody waits while all of them are put in order.

    After `Tape.settle`, and before anything else happens, the tape goes on from where the last piece ended.
    """

    def __init__(self, tape: Tape, positions: Mapping[str, int]):
        self._channel = tape.channel
        self._markets = tape.markets
        self._positions = dict(positions)
        self._sums: DaySums | None = None
        self._newest = 0

    @property
    def offset(self) -> str:
        """Where it stands."""
        return offset_text(self._positions)

    @property
    def is_whole(self) -> bool:
        """Whether everything behind is still there, and the positions are ones that the tape has had."""
        places = self._positions
        return all(
            market.ticks.reaches(places[exchange]) and places[exchange] <= market.ticks.newest
            for exchange, market in self._markets.items()
        )

    def read(self, most: int) -> list[tuple[Trade, Build]] | None:
        """The next trades with their messages, fewer than `most` only at the end; None when some are gone."""
        if not self.is_whole:
            return None
        ticks = [
            [tick for _, tick in market.ticks.after(self._positions[exchange], most) or ()]
            for exchange, market in self._markets.items()
        ]
        read: list[tuple[Trade, Build]] = []
        for tick in islice(merge(*ticks, key=lambda tick: tick.trade.time), most):
            trade = tick.trade
            if self._sums is None:
                following = {one[0].trade.exchange: one[0] for one in ticks if one}
                self._sums = _sums_before(self._markets, day_of(min(trade.time, time.time_ns())), following)
            is_late, self._newest = trade.time < self._newest, max(self._newest, trade.time)
            self._positions[trade.exchange] = tick.position
            read.append((trade, _message(self._channel, tick, self._sums, self.offset, is_late=is_late)))
        return read


def _message(channel: str, tick: Tick, sums: DaySums, offset: str, *, is_late: bool) -> Build:
    cvds = sums.stand(tick.trade, tick.cvd, time.time_ns())
    return messages.tape_trade(channel, tick.trade, offset, cvds, is_late=is_late)


def _sums_before(markets: Mapping[str, MarketState], day: int, following: Mapping[str, Tick]) -> DaySums:
    """The sums of `day` (since the epoch) before the ticks that follow, the next one of each exchange that has any."""
    sums: dict[str, Decimal | None] = {}
    for exchange, market in markets.items():
        tick = following.get(exchange)
        if tick is None or day_of(tick.trade.time) != day:
            sums[exchange] = market.flow.cvd(day * DAY)
        elif tick.cvd is None:
            sums[exchange] = None
        else:
            sums[exchange] = EXACT.subtract(tick.cvd, Decimal(messages.volume_delta(tick.trade)))
    return DaySums(sums, day)


def offset_text(positions: Mapping[str, int]) -> str:
    """Positions by exchange as one offset."""
    return ",".join(f"{exchange}:{place}" for exchange, place in sorted(positions.items()))


def read_offset(text: str) -> dict[str, int]:
    """The positions of such an offset. Raises ValidationFailed."""
    positions: dict[str, int] = {}
    for part in text.split(","):
        exchange, _, place = part.partition(":")
        if not exchange or len(place) > LONGEST_PLACE or not place.removeprefix("-").isdecimal():
            raise ValidationFailed("since must be an offset of this channel.", {"parameter": "since"})
        positions[exchange] = int(place)
    return positions
