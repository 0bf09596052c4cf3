"""Channels: their names, and the one place where those that are made on demand come to be and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.bar import Interval
from crosstape.stream_hub import messages
from crosstape.stream_hub.book_feed import BookFeed, Target
from crosstape.stream_hub.book_terms import BookTerms
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.flow import AnchoredSum
from crosstape.stream_hub.history import History
from crosstape.stream_hub.market import MarketState, Tick
from crosstape.stream_hub.rolled import RolledBars
from crosstape.stream_hub.tape import Tape

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts work that somebody owns."""

STORED = (Interval.S1, Interval.M1)
"""The bars that the bus tells; longer ones are asked for."""


class ChannelName(Struct, frozen=True):
    """What a client's channel text says; `exchange` may be `*`."""

    kind: str
    exchange: str = ""
    symbol: str = ""
    interval: Interval = Interval.M1


def parse_channel(text: str) -> ChannelName:
    """The meaning of `trades:EX:SYM`, `bars:EX:SYM:INTERVAL`, `book:EX:SYM` or `orders`; a symbol may hold colons.

    Raises ValidationFailed.
    """
    if text == "orders":
        return ChannelName("orders")
    kind, _, rest = text.partition(":")
    exchange, _, symbol = rest.partition(":")
    interval = Interval.M1
    if kind == "bars":
        symbol, _, wanted = symbol.rpartition(":")
        interval = read_interval(wanted)
    if kind not in ("trades", "bars", "book") or not exchange or not symbol:
        raise ValidationFailed(
            "channel must be trades:EXCHANGE:SYMBOL, bars:EXCHANGE:SYMBOL:INTERVAL, book:EXCHANGE:SYMBOL or orders.",
            {"parameter": "channel"},
        )
    return ChannelName(kind, exchange, symbol, interval)


def read_interval(text: str) -> Interval:
    """The interval. Raises ValidationFailed."""
    try:
        return Interval(text)
    except ValueError:
        raise ValidationFailed(f"interval must be one of {', '.join(Interval)}.", {"parameter": "interval"}) from None


class CvdTicks:
    """The ticks of a market with its volume delta: that of the day, or the one `since` an anchor."""

    def __init__(self, market: MarketState, since: AnchoredSum | None, outbox: Outbox):
        self._market = market
        self.since = since
        self.group = Group(outbox)
        market.tick_listeners[self] = None
        if since is not None:
            market.flow.sums[since] = None

    def close(self) -> None:
        """Nobody listens any more."""
        self._market.tick_listeners.pop(self, None)
        if self.since is not None:
            self._market.flow.sums.pop(self.since, None)

    def tick(self, tick: Tick) -> None:
        """A trade of the market."""
        cvd = tick.cvd if self.since is None else self.since.value
        self.group.publish(messages.tick(tick.trade, cvd, tick.position), tick.position)


Made = TypeVar("Made", BookFeed, Tape, RolledBars, CvdTicks)


class Channels:
    """What subscribers share and only exists while there are any: join it in the step that finds it, as somebody else's
    `release` may let it go. `release` after every leaving."""

    def __init__(self, outbox: Outbox, history: History, spawn: Spawn):
        self.outbox = outbox
        self._history = history
        self._spawn = spawn
        self._made: dict[Hashable, BookFeed | Tape | RolledBars | CvdTicks] = {}
        self._telling: dict[RolledBars, asyncio.Task[None]] = {}

    def bars(self, market: MarketState, interval: Interval) -> Group | RolledBars:
        """The channel of the bars of one interval."""
        return self.stored(market, interval) if interval in STORED else self.rolled(market, interval)

    def stored(self, market: MarketState, interval: Interval) -> Group:
        """The bars of an interval that the bus tells."""
        return market.bar_groups.setdefault(interval.value, Group(self.outbox))

    def rolled(self, market: MarketState, interval: Interval) -> RolledBars:
        """The bars of a longer interval."""
        key = ("bars", market, interval)
        rolled = self._find(key, lambda: RolledBars(market, interval, self._history, self.outbox))
        if rolled not in self._telling:
            self._telling[rolled] = self._spawn(rolled.run())
        return rolled

    def tape(self, channel: str, markets: Sequence[MarketState]) -> Tape:
        """The consolidated tape of these markets."""
        return self._find(("tape", channel, *markets), lambda: Tape(channel, markets, self.outbox))

    def cvd(self, market: MarketState, anchor: Hashable, since: AnchoredSum | None) -> CvdTicks:
        """The ticks from an anchor; whoever has the same one shares them."""
        return self._find(("cvd", market, anchor), lambda: CvdTicks(market, since, self.outbox))

    def book(
        self, targets: Sequence[Target], terms: BookTerms, head: Mapping[str, Any], *, is_consolidated: bool
    ) -> BookFeed:
        """A view of books."""
        key = ("book", tuple(targets), terms, tuple(head.items()), is_consolidated)

        def make() -> BookFeed:
            return BookFeed(
                self.outbox,
                targets,
                is_consolidated=is_consolidated,
                depth=terms.depth,
                interval=terms.interval_ms / 1000,
                head=head,
            )

        return self._find(key, make)

    def _find(self, key: Hashable, make: Callable[[], Made]) -> Made:
        found: Any = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
        return found  # type: ignore[no-any-return]  # a key is only ever used with one kind

    def release(self) -> None:
        """Let go what has no members."""
        for key, made in list(self._made.items()):
            members = len(made) if isinstance(made, BookFeed) else len(made.group)
            if not members:
                del self._made[key]
                made.close()
                if isinstance(made, RolledBars):
                    self._telling.pop(made).cancel()
