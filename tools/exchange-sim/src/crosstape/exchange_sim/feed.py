"""Channels and their subscribers. Nothing is encoded for a channel nobody listens to, and everything once."""

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.matching import Side
from crosstape.exchange_sim.session import Session, text_frame
from crosstape.exchange_sim.trade_history import Trade


class Channel:
    """What an exchange's dialect sends on one stream; each method answers whole payloads.

    `interval_ns` is the pace of `on_tick` (0: never called).
    """

    def __init__(self, market: Market | None, interval_ns: int = 0) -> None:
        self.market = market
        self.interval_ns = interval_ns

    def hello(self, now_ns: int) -> list[bytes]:
        """What a new subscriber gets first: a snapshot, past trades."""
        return []

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        return []

    def on_book(self, changed: set[tuple[Side, int]]) -> None:
        """The market's levels that changed in one step."""

    def on_tick(self, now_ns: int) -> list[bytes]:
        return []


class Feed(Protocol):
    """Where a session's subscriptions go: to the simulated markets or to a replay."""

    def subscribe(self, session: Session, key: ChannelKey) -> None: ...

    def unsubscribe(self, session: Session, key: ChannelKey) -> None: ...

    def leave(self, session: Session) -> None: ...


class _Subscribers:
    def __init__(self, channel: Channel, due_ns: int) -> None:
        self.channel = channel
        self.sessions: dict[Session, None] = {}
        self.due_ns = due_ns


class LiveFeed:
    """Spreads the simulated markets' events over channels. `open_channel` asks the exchange's dialect."""

    def __init__(self, open_channel: Callable[[ChannelKey], Channel], clock: ExchangeClock) -> None:
        self._open_channel = open_channel
        self._clock = clock
        self._channels: dict[ChannelKey, _Subscribers] = {}
        self._by_market: dict[str, list[_Subscribers]] = defaultdict(list)
        self.frames = 0

    def subscribe(self, session: Session, key: ChannelKey) -> None:
        subscribers = self._channels.get(key)
        now_ns = self._clock.now_ns()
        if subscribers is None:
            channel = self._open_channel(key)
            subscribers = self._channels[key] = _Subscribers(channel, now_ns + channel.interval_ns)
            if channel.market:
                self._by_market[channel.market.instrument.key].append(subscribers)
        if session in subscribers.sessions:
            return
        for payload in subscribers.channel.hello(self._clock.told(now_ns)):
            session.deliver(payload, text_frame(payload))
        subscribers.sessions[session] = None

    def unsubscribe(self, session: Session, key: ChannelKey) -> None:
        subscribers = self._channels.get(key)
        if subscribers is None:
            return
        subscribers.sessions.pop(session, None)
        if not subscribers.sessions:
            del self._channels[key]
            if subscribers.channel.market:
                self._by_market[subscribers.channel.market.instrument.key].remove(subscribers)

    def leave(self, session: Session) -> None:
        for key in [key for key, one in self._channels.items() if session in one.sessions]:
            self.unsubscribe(session, key)

    def stepped(self, market: Market, trades: list[Trade], now_ns: int) -> None:
        """A market has moved: its trades go out at once, its levels are noted for the next tick."""
        changed = market.engine.take_changed()
        told_ns = self._clock.told(now_ns)
        for subscribers in self._by_market.get(market.instrument.key, ()):
            if trades:
                self._publish(subscribers, subscribers.channel.on_trades(trades, told_ns))
            subscribers.channel.on_book(changed)

    def tick(self, now_ns: int) -> None:
        for subscribers in self._channels.values():
            interval = subscribers.channel.interval_ns
            if interval and now_ns >= subscribers.due_ns:
                subscribers.due_ns = max(subscribers.due_ns + interval, now_ns - interval)
                self._publish(subscribers, subscribers.channel.on_tick(self._clock.told(now_ns)))

    def _publish(self, subscribers: _Subscribers, payloads: list[bytes]) -> None:
        for payload in payloads:
            frame = text_frame(payload)
            self.frames += 1
            for session in subscribers.sessions:
                session.deliver(payload, frame)
