"""Subscriptions of /ws/v1/stream: each kind of channel, how a client joins it where it left off, and its replay."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS, Interval
from crosstape.common.market.order import OrderEvent
from crosstape.common.market.trade import Trade
from crosstape.stream_hub import messages
from crosstape.stream_hub.book_feed import BookFeed
from crosstape.stream_hub.connection import Connection
from crosstape.stream_hub.day_sums import DaySums
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.fanout import Group
from crosstape.stream_hub.flow import DAY
from crosstape.stream_hub.history import History
from crosstape.stream_hub.hub import OrderChannel
from crosstape.stream_hub.market import BarEvent, MarketState, Tick
from crosstape.stream_hub.numbers import EXACT, ZERO
from crosstape.stream_hub.protocol import CloseCode, Closing, TooMany
from crosstape.stream_hub.replay import BACKLOG_BYTES, BarSource, Several, Source, TradeSource, day_so_far
from crosstape.stream_hub.ring import Ring
from crosstape.stream_hub.rolled import RolledBars
from crosstape.stream_hub.tape import Tape

AT_ONCE = 500
"""Missed messages that are sent before the client is looked at again."""

Entry = TypeVar("Entry")


class Request(Struct, frozen=True):
    """How a client wants to join. `since` is the last offset it has, `epoch` that offset's; `described` is what the
    answer says of the channel besides."""

    since: int | str | None
    epoch: str
    described: Mapping[str, Any]


def subscribed(channel: str, request: Request, epoch: str, offset: int | str | None, *, is_recovered: bool) -> Build:
    """The answer. Its offset is what the client has then: what it missed follows behind it."""
    recovered = {} if request.since is None else {"recovered": is_recovered}
    message = {
        "type": "subscribed",
        "channel": channel,
        **request.described,
        "epoch": epoch,
        "offset": offset,
        **recovered,
    }
    return lambda notation: message


class Subscription(Protocol):
    """One client's part in one channel."""

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        """Answer, give what was missed, and go on with what comes. Raises Closing."""
        ...

    def leave(self, member: Connection) -> None:
        """No message any more."""
        ...

    async def source(self, start: int, history: History) -> Source | None:
        """What a replay from `start` (ns) on sends; None where there is no history. Raises ServiceUnavailable."""
        ...

    def go_live(self, member: Connection) -> None:
        """Join behind a replay: first what the bus brought that history did not have yet."""
        ...


def _too_slow() -> Closing:
    return Closing(CloseCode.TOO_SLOW, TooMany("You read too slowly to catch up with this channel."))


async def _has_read(member: Connection) -> None:
    """Return once the client has little left to read."""
    await asyncio.sleep(0)
    while member.backlog() > BACKLOG_BYTES:
        await asyncio.sleep(0.01)


class RingSubscription(ABC, Generic[Entry]):
    """A channel whose last messages are in a ring."""

    def __init__(self, channel: str, ring: Ring[Entry], group: Group):
        self._channel = channel
        self._ring = ring
        self._group = group

    @abstractmethod
    def _build(self, place: int, entry: Entry) -> Build | None:
        """The message of an entry; None for one of another channel."""

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        since = request.since
        is_recovered = isinstance(since, int) and request.epoch == epoch and self._ring.reaches(since)
        place = since if is_recovered and isinstance(since, int) else self._ring.newest
        member.send(subscribed(self._channel, request, epoch, place, is_recovered=is_recovered))
        is_behind = True
        while is_behind:
            missed = self._ring.after(place, AT_ONCE)
            if missed is None:
                raise _too_slow()
            for place, entry in missed:
                self._send(member, place, entry)
            if is_behind := len(missed) == AT_ONCE:
                await _has_read(member)
        self._group.join(member, place if place > self._ring.newest else None)

    def _send(self, member: Connection, place: int, entry: Entry) -> None:
        if (build := self._build(place, entry)) is not None:
            member.send(build)

    def leave(self, member: Connection) -> None:
        self._group.leave(member)


class Trades(RingSubscription[Tick]):
    """trades:EXCHANGE:SYMBOL."""

    def __init__(self, market: MarketState):
        super().__init__(market.trades_channel, market.ticks, market.trade_group)
        self._market = market
        self._source: TradeSource | None = None

    def _build(self, place: int, entry: Tick) -> Build:
        return messages.trade(self._channel, entry.trade, place)

    async def source(self, start: int, history: History) -> Source:
        channel = self._channel
        self._source = TradeSource(self._market, history, lambda trade: messages.trade(channel, trade, None), start)
        return self._source

    def go_live(self, member: Connection) -> None:
        for place, tick in self._ring:
            if self._source is None or self._source.is_new(tick.trade):
                self._send(member, place, tick)
        self._group.join(member)


class StoredBars(RingSubscription[BarEvent]):
    """bars:EXCHANGE:SYMBOL:INTERVAL of an interval that the bus tells."""

    def __init__(self, market: MarketState, interval: Interval, group: Group):
        super().__init__(market.bars_channel(interval), market.bars, group)
        self._market = market
        self._interval = interval
        self._source: BarSource | None = None

    def _build(self, place: int, entry: BarEvent) -> Build | None:
        if entry.bar.interval != self._interval:
            return None
        return messages.bar(entry.kind, self._channel, entry.bar, place)

    async def source(self, start: int, history: History) -> Source:
        self._source = BarSource(self._market, self._interval, history, start)
        return self._source

    def go_live(self, member: Connection) -> None:
        for place, event in self._ring:
            if self._source is None or self._source.is_new(event.bar):
                self._send(member, place, event)
        self._group.join(member)


class LongBars:
    """bars:EXCHANGE:SYMBOL:INTERVAL of a longer interval."""

    def __init__(self, market: MarketState, interval: Interval, bars: RolledBars):
        self._channel = market.bars_channel(interval)
        self._market = market
        self._interval = interval
        self._bars = bars

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        since, bars = request.since, self._bars
        missed = bars.missed(since) if isinstance(since, int) and request.epoch == epoch else None
        place = since if missed is not None and isinstance(since, int) else bars.position
        member.send(subscribed(self._channel, request, epoch, place, is_recovered=missed is not None))
        for telling, bar in await bars.fetch(missed or ()):
            member.send(bars.message(telling, bar))
            place = telling.position
        bars.group.join(member, place)

    def leave(self, member: Connection) -> None:
        self._bars.group.leave(member)

    async def source(self, start: int, history: History) -> Source:
        return BarSource(self._market, self._interval, history, start)

    def go_live(self, member: Connection) -> None:
        self._bars.group.join(member)


class Consolidated:
    """trades:*:SYMBOL."""

    def __init__(self, tape: Tape):
        self._tape = tape
        self._sources: dict[str, TradeSource] = {}

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        tape = self._tape
        tape.settle()
        behind = tape.behind(request.since) if isinstance(request.since, str) and request.epoch == epoch else None
        if behind is not None and not behind.is_whole:
            behind = None
        place = tape.offset if behind is None else behind.offset
        member.send(subscribed(tape.channel, request, epoch, place, is_recovered=behind is not None))
        while behind is not None:
            missed = behind.read(AT_ONCE)
            if missed is None:
                raise _too_slow()
            for _, build in missed:
                member.send(build)
            if len(missed) < AT_ONCE:
                break
            await _has_read(member)
            tape.settle()
        tape.group.join(member)

    def leave(self, member: Connection) -> None:
        self._tape.group.leave(member)

    async def source(self, start: int, history: History) -> Source:
        markets = self._tape.markets
        before = {exchange: await day_so_far(market, start, history) for exchange, market in markets.items()}
        sums, channel = DaySums(before, start // NANOSECONDS // DAY), self._tape.channel

        def build(trade: Trade) -> Build:
            if sums.counts(trade):
                known = sums.sums[trade.exchange] or ZERO
                sums.sums[trade.exchange] = EXACT.add(known, Decimal(messages.volume_delta(trade)))
            return messages.tape_trade(channel, trade, None, dict(sums.sums), is_late=False)

        self._sources = {exchange: TradeSource(market, history, build, start) for exchange, market in markets.items()}
        return Several(list(self._sources.values()))

    def go_live(self, member: Connection) -> None:
        tape = self._tape
        tape.settle()
        kept = tape.kept()
        while part := kept.read(AT_ONCE):
            for trade, build in part:
                if self._sources[trade.exchange].is_new(trade):
                    member.send(build)
        tape.group.join(member)


class Book:
    """book:EXCHANGE:SYMBOL: the newest state is all there is to recover."""

    def __init__(self, channel: str, feed: BookFeed):
        self._channel = channel
        self._feed = feed

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        member.send(subscribed(self._channel, request, epoch, None, is_recovered=True))
        self._feed.join(member)

    def leave(self, member: Connection) -> None:
        self._feed.leave(member)

    async def source(self, start: int, history: History) -> None:
        return None

    def go_live(self, member: Connection) -> None:
        self._feed.join(member)


class Orders(RingSubscription[OrderEvent]):
    """orders: the client's own."""

    def __init__(self, channel: OrderChannel):
        super().__init__("orders", channel.ring, channel.group)

    def _build(self, place: int, entry: OrderEvent) -> Build:
        return messages.order(entry, place)

    async def source(self, start: int, history: History) -> None:
        return None

    def go_live(self, member: Connection) -> None:
        self._group.join(member)
