"""Everything the hub knows of one market, and everybody who listens to it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol
from weakref import WeakValueDictionary

from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS, Bar, Interval
from crosstape.common.market.trade import Trade, TradeId
from crosstape.stream_hub import messages
from crosstape.stream_hub.day_sums import day_of
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.flow import DAY, DETAILED_SECONDS, Flow
from crosstape.stream_hub.kept import Kept
from crosstape.stream_hub.live_book import LiveBook
from crosstape.stream_hub.numbers import EXACT
from crosstape.stream_hub.positions import before, position
from crosstape.stream_hub.ring import Ring
from crosstape.stream_hub.seen import SeenIds
from crosstape.stream_hub.tellings import Remembered
from crosstape.stream_hub.told import Told

RING_BARS = 2_000


class Tick(Struct, array_like=True):
    """A trade that counts, its position, and the volume delta of its day up to it (None where not known)."""

    position: int
    trade: Trade
    cvd: Decimal | None


class BarEvent(Struct, frozen=True, array_like=True):
    """A stored bar that is told: `kind` is `bar_close` the first time, then `bar_revision`."""

    kind: str
    bar: Bar


class TickListener(Protocol):
    """Who hears of every tick of a market."""

    def tick(self, tick: Tick, /) -> None: ...


class BarListener(Protocol):
    """Who hears of every stored minute of a market that says something new."""

    def minute(self, bar: Bar, position: int, /) -> None: ...


class BookListener(Protocol):
    """Who hears that a market's book changed, broke or got well."""

    def changed(self) -> None: ...


class RingSize(Struct, frozen=True):
    """How much is kept for clients that come back."""

    trades: int
    seconds: float


class MarketState:
    """One market. The first of a trade's copies counts. From `listening_since` (Unix s) on all bars were heard."""

    def __init__(self, exchange: str, symbol: str, outbox: Outbox, size: RingSize, listening_since: float):
        self.exchange = exchange
        self.symbol = symbol
        self._outbox = outbox
        self._listening_since = listening_since
        self.seen = SeenIds()
        self.flow = Flow()
        self.book = LiveBook(exchange, symbol)
        self.ticks: Ring[Tick] = Ring(Tick, size.trades, size.seconds, 0)
        self.bars: Ring[BarEvent] = Ring(BarEvent, RING_BARS, size.seconds, 0)
        self._told: dict[str, Told] = {}
        self._long_bars: dict[Interval, Remembered] = {}
        self._kept: WeakValueDictionary[str, Kept[Any, Any]] = WeakValueDictionary()
        self.trade_group = Group(outbox)
        self.bar_groups: dict[str, Group] = {}
        self.tick_listeners: dict[TickListener, None] = {}
        self.bar_listeners: dict[BarListener, None] = {}
        self.book_listeners: dict[BookListener, None] = {}

    @property
    def trades_channel(self) -> str:
        return f"trades:{self.exchange}:{self.symbol}"

    def bars_channel(self, interval: str) -> str:
        """The name of the channel of its bars."""
        return f"bars:{self.exchange}:{self.symbol}:{interval}"

    def take_trades(self, trades: Sequence[Trade], offset: int, time_ms: int) -> int:
        """A record of trades: those that are new count and are told; how many they are."""
        flow, group = self.flow, self.trade_group
        received: int | None = None
        count = 0
        for item, trade in enumerate(trades):
            if not self.seen.add(trade.trade_id):
                continue
            count += 1
            flow.add(trade)
            tick = Tick(position(offset, item), trade, flow.cvd(trade.time // NANOSECONDS))
            self.ticks.append(tick.position, time_ms, tick)
            if len(group):
                group.publish(messages.trade(self.trades_channel, trade, tick.position), tick.position)
                received = received or trade.time_received
            for listener in list(self.tick_listeners):
                listener.tick(tick)
        if received is not None:
            self._outbox.delivers(received)
        return count

    def take_bars(self, bars: Sequence[Bar], offset: int, time_ms: int) -> None:
        """A record of stored bars: what is new of it is told."""
        for item, bar in enumerate(bars):
            kind = self._kind(bar)
            if kind is None:
                continue
            place = position(offset, item)
            self.bars.append(place, time_ms, BarEvent(kind, bar))
            group = self.bar_groups.get(bar.interval)
            if group is not None and len(group):
                group.publish(messages.bar(kind, self.bars_channel(bar.interval), bar, place), place)
            if bar.interval == Interval.M1:
                self.flow.tell(bar)
                for listener in list(self.bar_listeners):
                    listener.minute(bar, place)

    def long_bars(self, interval: Interval) -> Remembered:
        """What was told of its bars of a longer interval, whether anybody listens or not."""
        return self._long_bars.setdefault(interval, Remembered(interval))

    def kept_trades(self) -> Kept[Tick, TradeId]:
        """The ids of the trades that the ring holds; all who hold this share it."""
        return self._kept.setdefault("", Kept(self.ticks, lambda tick: tick.trade.trade_id))

    def kept_bars(self, interval: Interval) -> Kept[BarEvent, int]:
        """The opens (Unix s) of the bars of `interval` of which the ring holds a part; shared likewise."""
        return self._kept.setdefault(interval, Kept(self.bars, lambda event: interval.open_time(event.bar.open_time)))

    def _kind(self, bar: Bar) -> str | None:
        """How a bar is told; None for a repeat. A revision counts as the close where nobody told the close before."""
        bars = self._told.get(bar.interval)
        if bars is None:
            bars = self._told[bar.interval] = Told(Interval(bar.interval).seconds, DETAILED_SECONDS)
        told = bars.revision(bar.open_time)
        if told is not None and bar.revision <= told:
            return None
        bars.tell(bar.open_time, bar.revision)
        is_first = told is None and (bar.revision == 0 or bar.open_time >= self._listening_since)
        return "bar_close" if is_first else "bar_revision"

    def book_changed(self) -> None:
        """Tell those who look at the book."""
        for listener in list(self.book_listeners):
            listener.changed()

    def found(self, bars: Sequence[Bar], trades: Sequence[Trade], known_from: int) -> None:
        """What history knows: the closed minutes from `known_from` (Unix s) on, and the trades of the others."""
        self.flow.found(bars, known_from)
        for trade in trades:
            if self.seen.add(trade.trade_id):
                self.flow.add(trade)
        self.ticks.rewrite(self._recount)

    def _recount(self, ticks: list[Tick]) -> None:
        """The volume delta at each tick that came before history answered."""
        days: dict[int, Decimal | None] = {}
        for tick in reversed(ticks):
            day = day_of(tick.trade.time)
            if day not in days:
                days[day] = self.flow.cvd(day * DAY)
            cvd = tick.cvd = days[day]
            if cvd is not None:
                days[day] = EXACT.subtract(cvd, Decimal(messages.volume_delta(tick.trade)))

    def prune(self, now: int) -> None:
        """Let go what nobody will ask for at `now` (Unix s)."""
        self.flow.prune(now)
        self._listening_since = max(self._listening_since, now - DETAILED_SECONDS)

    def restart(self) -> None:
        """The log is another one: positions begin anew, what is known of the tape stays."""
        self._forget(before(0), before(0))

    def lost(self, trades_floor: int, bars_floor: int) -> None:
        """Records are gone that nobody read: from what lies before them nobody can go on, nor from among them, up to
        these positions."""
        self._forget(max(self.ticks.newest + 1, trades_floor), max(self.bars.newest + 1, bars_floor))

    def _forget(self, trades_floor: int, bars_floor: int) -> None:
        self.ticks.restart(trades_floor)
        self.bars.restart(bars_floor)
        self._kept.clear()
        self._long_bars.clear()
        self.book.restart()
        self.book_changed()
