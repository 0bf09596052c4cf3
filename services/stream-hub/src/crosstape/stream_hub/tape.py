"""The consolidated tape: one symbol's trades on all exchanges, merged by event time, with the volume delta of each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from heapq import merge

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.trade import Trade
from crosstape.stream_hub import messages
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.market import MarketState, Tick
from crosstape.stream_hub.merge import TimeMerge

HOLD_SECONDS = 0.1
"""How long a trade waits for an earlier one of another exchange."""


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
        self._cvds = {
            exchange: market.ticks.last.cvd if market.ticks.last else None for exchange, market in self.markets.items()
        }
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

    @property
    def cvds(self) -> Mapping[str, Decimal | None]:
        """The volume delta of each exchange's day so far."""
        return dict(self._cvds)

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
        exchange = tick.trade.exchange
        self._positions[exchange] = tick.position
        self._cvds[exchange] = tick.cvd
        return messages.tape_trade(self.channel, tick.trade, self.offset, dict(self._cvds), is_late=is_late)

    def settle(self) -> None:
        """Release what is held: then the tape stands where its markets stand, and somebody may join."""
        for tick, is_late in self._merge.drain():
            self.group.publish(self._message(tick, is_late=is_late))

    def kept(self) -> list[tuple[Trade, Build]]:
        """Every trade that is still in the rings, in order, with its message."""
        floors = offset_text({exchange: market.ticks.floor for exchange, market in self.markets.items()})
        return [(tick.trade, build) for tick, _, build in self._behind(read_offset(floors)) or ()]

    def missed(self, since: str) -> list[tuple[str, Build]] | None:
        """The offsets and messages behind an offset, after `settle`; None when some may be gone.

        Raises ValidationFailed.
        """
        behind = self._behind(read_offset(since))
        return None if behind is None else [(place, build) for _, place, build in behind]

    def _behind(self, positions: dict[str, int]) -> list[tuple[Tick, str, Build]] | None:
        found: list[list[Tick]] = []
        for exchange, market in self.markets.items():
            known = positions.get(exchange, -1)
            entries = market.ticks.after(known)
            if entries is None or known > market.ticks.newest:
                return None
            found.append([tick for _, tick in entries])
        cvds: dict[str, Decimal | None] = {
            exchange: (ticks[0].cvd if ticks else self._cvds[exchange])
            for exchange, ticks in zip(self.markets, found, strict=True)
        }
        builds: list[tuple[Tick, str, Build]] = []
        newest = 0
        for tick in merge(*found, key=lambda tick: tick.trade.time):
            exchange = tick.trade.exchange
            positions[exchange] = tick.position
            cvds[exchange] = tick.cvd
            is_late, newest = tick.trade.time < newest, max(newest, tick.trade.time)
            place = offset_text(positions)
            build = messages.tape_trade(self.channel, tick.trade, place, dict(cvds), is_late=is_late)
            builds.append((tick, place, build))
        return builds


def offset_text(positions: Mapping[str, int]) -> str:
    """Positions by exchange as one offset."""
    return ",".join(f"{exchange}:{place}" for exchange, place in sorted(positions.items()))


def read_offset(text: str) -> dict[str, int]:
    """The positions of such an offset. Raises ValidationFailed."""
    positions: dict[str, int] = {}
    for part in text.split(","):
        exchange, _, place = part.partition(":")
        if not exchange or not place.removeprefix("-").isdecimal():
            raise ValidationFailed("since must be an offset of this channel.", {"parameter": "since"})
        positions[exchange] = int(place)
    return positions
