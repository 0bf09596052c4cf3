"""Subscriptions of /ws/v1/stream: each kind of channel, how a client joins it where it left off, and its replay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

from crosstape.common.errors import ServiceUnavailable
from crosstape.common.market.bar import Interval
from crosstape.common.market.order import OrderEvent
from crosstape.common.market.trade import Trade
from crosstape.stream_hub import messages
from crosstape.stream_hub.anchors import day_so_far
from crosstape.stream_hub.book_feed import BookFeed
from crosstape.stream_hub.book_terms import BookTerms
from crosstape.stream_hub.connection import Connection
from crosstape.stream_hub.day_sums import DaySums, day_of
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.fanout import Group
from crosstape.stream_hub.history import History
from crosstape.stream_hub.hub import OrderChannel
from crosstape.stream_hub.joining import AT_ONCE, Request, RingSubscription, Subscription, subscribed
from crosstape.stream_hub.market import BarEvent, MarketState, Tick
from crosstape.stream_hub.positions import LATER
from crosstape.stream_hub.protocol import Closing
from crosstape.stream_hub.reading import has_read, too_slow
from crosstape.stream_hub.replay_sources import BarSource, Source, TradeSource
from crosstape.stream_hub.ring import Ring
from crosstape.stream_hub.rolled import RETRY_SECONDS, RolledBars
from crosstape.stream_hub.span import Span
from crosstape.stream_hub.tape import Behind, Tape

LONGEST_RETRY_SECONDS = 30.0


class Trades(RingSubscription[Tick]):
    """trades:EXCHANGE:SYMBOL."""

    def __init__(self, market: MarketState):
        super().__init__(market.trades_channel, lambda: (market.ticks, market.trade_group))
        self._market = market

    def _build(self, place: int, entry: Tick) -> Build:
        return messages.trade(self._channel, entry.trade, place)

    async def sources(self, start: int, history: History) -> Sequence[Source]:
        channel = self._channel
        source = TradeSource(self._market, history, lambda trade: messages.trade(channel, trade, None), start)
        self._is_new = lambda tick: source.is_new(tick.trade)
        return [source]


class StoredBars(RingSubscription[BarEvent]):
    """bars:EXCHANGE:SYMBOL:INTERVAL of an interval that the bus tells."""

    def __init__(self, market: MarketState, interval: Interval, group: Group):
        super().__init__(market.bars_channel(interval), lambda: (market.bars, group))
        self._market = market
        self._interval = interval

    def _build(self, place: int, entry: BarEvent) -> Build | None:
        if entry.bar.interval != self._interval:
            return None
        return messages.bar(entry.kind, self._channel, entry.bar, place)

    async def sources(self, start: int, history: History) -> Sequence[Source]:
        source = BarSource(self._market, self._interval, history, start)
        self._is_new = lambda event: source.is_new(event.bar)
        return [source]


class _OnDemand(Subscription):
    """A channel that is only there while somebody has joined it."""

    _joined: RolledBars | Tape | None = None

    def _leave(self, member: Connection) -> None:
        if self._joined is not None:
            self._joined.group.leave(member)


class LongBars(_OnDemand):
    """bars:EXCHANGE:SYMBOL:INTERVAL of a longer interval."""

    def __init__(self, market: MarketState, interval: Interval, find: Callable[[], RolledBars]):
        self._channel = market.bars_channel(interval)
        self._market = market
        self._interval = interval
        self._find = find
        self._source: BarSource | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        has, bars = request.place(epoch), self._find()
        if has is not None and bars.missed(has) is None:
            has = None
        place = bars.position if has is None else has
        member.send(subscribed(self._channel, request, epoch, place, is_recovered=has is not None))
        await self._follow(member, place)

    async def go_live(self, member: Connection, span: Span) -> None:
        await self._follow(member, self._market.bars.floor | LATER if span.end is None else self._find().position)

    async def _follow(self, member: Connection, place: int, waited: float = 0.0) -> None:
        """Send what was told behind `place`, and go on with what is. Raises Closing, and ServiceUnavailable unless the
        client has `waited` already (s).

        A bar that history calls open is waited for aside: where nobody trades that may take hours.
        """
        while not self.has_left:
            bars = self._find()
            told = bars.position
            if place >= told:
                bars.group.join(member, place)
                self._joined, self._source = bars, None
                return
            missed = bars.missed(place)
            if missed is None:
                raise too_slow()
            try:
                found, is_whole = await bars.fetch(missed)
            except ServiceUnavailable:
                if not waited:
                    raise
                found, is_whole = [], False
            if self.has_left:
                return
            for telling, bar in found:
                if self._source is None or self._source.is_new(bar):
                    member.send(bars.message(telling, bar))
                place = telling.position
            if is_whole:
                place = max(place, told)
            elif place < told:
                pause = min(2 * waited or RETRY_SECONDS, LONGEST_RETRY_SECONDS)
                self._waiting = member.spawn(partial(self._follow_later, member, place, pause))
                return

    async def _follow_later(self, member: Connection, place: int, pause: float) -> None:
        await asyncio.sleep(pause)
        try:
            await self._follow(member, place, pause)
        except Closing as end:
            member.end(end)

    async def sources(self, start: int, history: History) -> Sequence[Source]:
        self._source = BarSource(self._market, self._interval, history, start)
        return [self._source]


class Consolidated(_OnDemand):
    """trades:*:SYMBOL."""

    def __init__(self, channel: str, markets: Sequence[MarketState], find: Callable[[], Tape]):
        self._channel = channel
        self._markets = markets
        self._find = find
        self._sources: dict[str, TradeSource] = {}

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        tape = self._find()
        tape.settle()
        behind = tape.behind(request.since) if isinstance(request.since, str) and request.epoch == epoch else None
        if behind is not None and not behind.is_whole:
            behind = None
        place = tape.offset if behind is None else behind.offset
        member.send(subscribed(self._channel, request, epoch, place, is_recovered=behind is not None))
        await self._follow(member, behind)

    async def go_live(self, member: Connection, span: Span) -> None:
        await self._follow(member, self._find().kept() if span.end is None else None)
        self._sources = {}

    async def _follow(self, member: Connection, behind: Behind | None) -> None:
        """Send what lies `behind`, and go on with what comes. Raises Closing."""
        while not self.has_left:
            tape = self._find()
            tape.settle()
            missed = [] if behind is None else behind.read(AT_ONCE)
            if missed is None:
                raise too_slow()
            for trade, build in missed:
                if not self._sources or self._sources[trade.exchange].is_new(trade):
                    member.send(build)
            if len(missed) < AT_ONCE:
                tape.group.join(member)
                self._joined = tape
                return
            await has_read(member)

    async def sources(self, start: int, history: History) -> Sequence[Source]:
        before = {market.exchange: await day_so_far(market, start, history) for market in self._markets}
        sums, channel = DaySums(before, day_of(start)), self._channel

        def build(trade: Trade) -> Build:
            cvds = sums.add(trade, Decimal(messages.volume_delta(trade)), time.time_ns())
            return messages.tape_trade(channel, trade, None, cvds, is_late=False)

        self._sources = {market.exchange: TradeSource(market, history, build, start) for market in self._markets}
        return list(self._sources.values())


class Book(Subscription):
    """book:EXCHANGE:SYMBOL: the newest state is all there is to recover."""

    def __init__(self, channel: str, terms: BookTerms, find: Callable[[], BookFeed]):
        self.terms = terms
        self._channel = channel
        self._find = find
        self._joined: BookFeed | None = None

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        member.send(subscribed(self._channel, request, epoch, None, is_recovered=True))
        self._join(member)

    async def go_live(self, member: Connection, span: Span) -> None:
        self._join(member)

    def _join(self, member: Connection) -> None:
        self._joined = self._find()
        self._joined.join(member)

    def _leave(self, member: Connection) -> None:
        if self._joined is not None:
            self._joined.leave(member)


class Orders(RingSubscription[OrderEvent]):
    """orders: the client's own."""

    def __init__(self, find: Callable[[], OrderChannel]):
        def of_channel() -> tuple[Ring[OrderEvent], Group]:
            channel = find()
            return channel.ring, channel.group

        super().__init__("orders", of_channel)

    def _build(self, place: int, entry: OrderEvent) -> Build:
        return messages.order(entry, place)

    async def go_live(self, member: Connection, span: Span) -> None:
        ring, _ = self._find()
        await self._follow(member, ring.newest)
