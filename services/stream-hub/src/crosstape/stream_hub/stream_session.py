"""/ws/v1/stream: one socket, many channels, with recovery and replay."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from crosstape.common.errors import (
    Conflict,
    Forbidden,
    PlatformError,
    ServiceUnavailable,
    Unauthenticated,
    ValidationFailed,
)
from crosstape.common.identity.principal import Scope
from crosstape.stream_hub.book_terms import check_levels, read_terms
from crosstape.stream_hub.channels import STORED, ChannelName, parse_channel
from crosstape.stream_hub.connection import Connection
from crosstape.stream_hub.desk import MOST_CHANNELS, Desk, Found
from crosstape.stream_hub.joining import Request, Subscription
from crosstape.stream_hub.protocol import Closing, TooMany, closing, error_message, text_of, unknown_action
from crosstape.stream_hub.reading import has_read
from crosstape.stream_hub.replay import replay
from crosstape.stream_hub.replay_sources import Wanted
from crosstape.stream_hub.span import Span, read_span
from crosstape.stream_hub.subscriptions import Book, Consolidated, LongBars, Orders, StoredBars, Trades

Asked = Mapping[str, Any]
"""What a client says of one channel."""


class StreamSession:
    """One client of the stream."""

    def __init__(self, connection: Connection, desk: Desk):
        self._connection = connection
        self._desk = desk
        self._subscriptions: dict[str, Subscription] = {}
        self._replayed: Sequence[Subscription] = ()
        self._replaying: asyncio.Task[Any] | None = None
        self._query: Mapping[str, Any] = connection.hello.query

    async def open(self) -> None:
        """Nothing is said before the client asks."""

    async def handle(self, message: dict[str, Any]) -> None:
        """Raises PlatformError for what cannot be done, Closing for what cannot go on."""
        action = message.get("action")
        if action == "subscribe":
            await self._subscribe(message)
        elif action == "unsubscribe":
            await self._unsubscribe(message)
        elif action == "list":
            told = list(self._subscriptions)
            self._connection.send(lambda notation: {"type": "subscriptions", "channels": told})
        else:
            raise unknown_action(message, "subscribe, unsubscribe, list, ping, auth")

    async def _subscribe(self, message: Asked) -> None:
        span = read_span({**self._query, **message}, time.time_ns())
        if span is None:
            await self._ask(message, is_replayed=False)
            return
        if self._replaying is not None:
            raise TooMany("A socket replays one span at a time.")
        with contextlib.ExitStack() as place:
            principal = self._connection.principal
            place.enter_context(self._desk.replays.taken(principal.user_id if principal else ""))
            replayed = await self._ask(message, is_replayed=True)
            if replayed:
                self._query = {}  # the address speaks of the first subscription
                self._replayed = replayed
                held = place.pop_all()
                running = self._connection.spawn(partial(self._replay, span))
                running.add_done_callback(lambda _: held.close())
                await asyncio.sleep(0)  # it begins, and can be cancelled

    async def _ask(self, message: Asked, *, is_replayed: bool) -> Sequence[Subscription]:
        """Join the channels, or find those that are to be replayed first."""
        replayed: list[Subscription] = []
        is_refused = False
        for asked in _channels(message):
            channel = ""
            try:
                channel, subscription, described = self._made(asked)
                if is_replayed and subscription is not None:
                    replayed.append(subscription)
                elif subscription is not None:
                    request = Request(asked.get("since"), str(asked.get("epoch", "")), described)
                    await subscription.join(self._connection, request, self._desk.hub.epoch)
                    await has_read(self._connection)  # what it missed waits now
            except PlatformError as error:
                self._subscriptions.pop(channel, None)
                self._connection.send(error_message(error, {"action": "subscribe", "channel": asked["channel"]}))
                is_refused = True
                await asyncio.sleep(0)  # to look for what is meant takes its time: others are heard in between
        if is_refused:
            self._desk.channels.release()  # of what was found and not joined
        return replayed

    def _made(self, asked: Asked) -> tuple[str, Subscription | None, Asked]:
        """The channel's canonical name, its subscription (None where there is one already), and what to say of it."""
        name = parse_channel(text_of(asked, "channel"))
        found = None if name.kind == "orders" else self._desk.find(name.exchange, name.symbol)
        channel = _canonical(name, found)
        described = {} if found is None else dict(found.aliases)
        if channel != asked["channel"]:
            described["asked"] = asked["channel"]
        if channel in self._subscriptions:
            self._connection.send(
                lambda notation: {"type": "subscribed", "channel": channel, **described, "already": True}
            )
            return channel, None, described
        if len(self._subscriptions) >= MOST_CHANNELS:
            raise Conflict(f"A socket may have {MOST_CHANNELS} channels: unsubscribe from one first.")
        subscription = self._orders() if found is None else self._of_market(name, found, channel, asked)
        self._subscriptions[channel] = subscription
        return channel, subscription, described

    def _orders(self) -> Subscription:
        principal = self._connection.principal
        if principal is None:
            raise Unauthenticated("This channel needs a token.")
        if Scope.ORDERS_READ not in principal.scopes:
            raise Forbidden("This credential lacks the scope orders:read.", {"required_scope": "orders:read"})
        if not self._desk.knows_revoked():
            raise ServiceUnavailable(
                "Whether credentials have been revoked cannot be told at the moment, so only market data is sent. "
                "Try again shortly."
            )
        return Orders(partial(self._desk.hub.orders, principal.user_id))

    def _of_market(self, name: ChannelName, found: Found, channel: str, asked: Asked) -> Subscription:
        desk = self._desk
        targets = desk.targets(found)
        if name.kind == "book":
            terms = read_terms(asked, len(targets))
            check_levels(terms, (one.terms for one in self._subscriptions.values() if isinstance(one, Book)))
            head = {"channel": channel, "exchange": found.exchange, "symbol": found.symbol}
            find = partial(desk.channels.book, targets, terms, head, is_consolidated=found.is_consolidated)
            return Book(channel, terms, find)
        if name.kind == "trades":
            if found.is_consolidated:
                markets = [target.market for target in targets]
                return Consolidated(channel, markets, partial(desk.channels.tape, channel, markets))
            return Trades(targets[0].market)
        if found.is_consolidated:
            raise ValidationFailed("Bars are of one exchange each.", {"parameter": "channel"})
        market = targets[0].market
        if name.interval in STORED:
            return StoredBars(market, name.interval, desk.channels.stored(market, name.interval))
        return LongBars(market, name.interval, partial(desk.channels.rolled, market, name.interval))

    async def _replay(self, span: Span) -> None:
        connection, desk = self._connection, self._desk
        self._replaying = asyncio.current_task()
        try:
            sources = [
                Wanted(source, subscription)
                for subscription in self._replayed
                for source in await subscription.sources(span.start, desk.history)
            ]
            await replay(sources, span, connection)
            live = {channel: one for channel, one in self._subscriptions.items() if one in self._replayed}
            told = {"type": "replay_complete", "channels": list(live), "epoch": desk.hub.epoch}
            connection.send(lambda notation: told)
            for subscription in live.values():
                if not subscription.has_left:
                    await subscription.go_live(connection, span)
                    await has_read(connection)
        except Closing as end:
            connection.end(end)
        except PlatformError as error:
            connection.end(closing(error))
        finally:
            self._replaying = None

    async def _unsubscribe(self, message: Asked) -> None:
        for asked in _channels(message):
            try:
                name = parse_channel(text_of(asked, "channel"))
                found = None if name.kind == "orders" else self._desk.find(name.exchange, name.symbol)
                channel = _canonical(name, found)
                subscription = self._subscriptions.pop(channel, None)
                if subscription is None:
                    raise ValidationFailed("There is no such subscription.", {"parameter": "channel"})
            except PlatformError as error:
                self._connection.send(error_message(error, {"action": "unsubscribe", "channel": asked["channel"]}))
                await asyncio.sleep(0)
                continue
            subscription.leave(self._connection)
            told = {"type": "unsubscribed", "channel": channel}
            self._connection.send(lambda notation, told=told: told)  # type: ignore[misc]
        if self._replaying is not None and all(subscription.has_left for subscription in self._replayed):
            self._replaying.cancel()
            await asyncio.wait([self._replaying])
        self._desk.channels.release()

    def close(self) -> None:
        """The client is gone."""
        for subscription in self._subscriptions.values():
            subscription.leave(self._connection)
        self._subscriptions.clear()
        self._desk.channels.release()


def _channels(message: Asked) -> list[Asked]:
    """What is said of each channel. Raises ValidationFailed."""
    channels = message.get("channels")
    if not isinstance(channels, list) or not channels:
        raise ValidationFailed("channels must be a list of channels.", {"parameter": "channels"})
    if len(channels) > MOST_CHANNELS:
        raise ValidationFailed(f"A message may name {MOST_CHANNELS} channels.", {"parameter": "channels"})
    asked = [{"channel": one} if isinstance(one, str) else one for one in channels]
    if not all(isinstance(one, dict) and isinstance(one.get("channel"), str) for one in asked):
        raise ValidationFailed('A channel is text, or {"channel": text, ...}.', {"parameter": "channels"})
    return asked


def _canonical(name: ChannelName, found: Found | None) -> str:
    if found is None:
        return name.kind
    end = f":{name.interval}" if name.kind == "bars" else ""
    return f"{name.kind}:{found.exchange}:{found.symbol}{end}"
