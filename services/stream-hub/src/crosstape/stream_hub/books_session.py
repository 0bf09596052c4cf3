"""/ws, the first seed's stream: books, one exchange's or all of them, subscribed to by exchange and symbol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from crosstape.common.errors import Conflict, ValidationFailed
from crosstape.stream_hub.book_feed import BookFeed
from crosstape.stream_hub.book_terms import BookTerms, check_levels, read_terms
from crosstape.stream_hub.connection import Connection
from crosstape.stream_hub.desk import MOST_CHANNELS, Desk
from crosstape.stream_hub.protocol import text_of, unknown_action


class _Subscription(Struct, frozen=True):
    feed: BookFeed
    terms: BookTerms
    head: Mapping[str, Any]

    @property
    def told(self) -> Mapping[str, Any]:
        return {**self.head, "depth": self.terms.depth, "interval_ms": self.terms.interval_ms}


class BooksSession:
    """One client of /ws."""

    def __init__(self, connection: Connection, desk: Desk):
        self._connection = connection
        self._desk = desk
        self._subscriptions: dict[tuple[str, str], _Subscription] = {}
        self._actions: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "list": self._list,
        }

    async def open(self) -> None:
        """Nothing is said before the client asks."""

    async def handle(self, message: dict[str, Any]) -> None:
        """Raises PlatformError for what cannot be done."""
        action = self._actions.get(str(message.get("action")))
        if action is None:
            raise unknown_action(message, "subscribe, unsubscribe, list, ping, auth")
        action(message)

    def _subscribe(self, message: Mapping[str, Any]) -> None:
        exchange, symbol = text_of(message, "exchange"), text_of(message, "symbol")
        found = self._desk.find(exchange, symbol)
        terms = read_terms(message, len(found.listed))
        key = (found.exchange, found.symbol)
        if key not in self._subscriptions and len(self._subscriptions) >= MOST_CHANNELS:
            raise Conflict(f"A socket may have {MOST_CHANNELS} subscriptions: unsubscribe from one first.")
        check_levels(terms, (one.terms for other, one in self._subscriptions.items() if other != key))
        head: dict[str, Any] = {"exchange": found.exchange, "symbol": symbol}
        if symbol != found.symbol:
            head["canonical"] = found.symbol
        if not found.is_consolidated:
            head |= found.aliases
        feed = self._desk.channels.book(self._desk.targets(found), terms, head, is_consolidated=found.is_consolidated)
        is_another = self._drop(key)
        self._subscriptions[key] = _Subscription(feed, terms, head)
        answer = {"message": f"Subscribed to {exchange} {symbol}", **found.aliases}
        self._connection.send(lambda notation: answer)
        feed.join(self._connection)
        if is_another:
            self._desk.channels.release()

    def _unsubscribe(self, message: Mapping[str, Any]) -> None:
        exchange, symbol = text_of(message, "exchange"), text_of(message, "symbol")
        found = self._desk.find(exchange, symbol)
        if (found.exchange, found.symbol) not in self._subscriptions:
            raise ValidationFailed(f"There is no subscription to {exchange} {symbol}.")
        self._drop((found.exchange, found.symbol))
        self._desk.channels.release()
        self._connection.send(lambda notation: {"message": f"Unsubscribed from {exchange} {symbol}"})

    def _drop(self, key: tuple[str, str]) -> bool:
        """End the subscription; whether there was one."""
        if (subscription := self._subscriptions.pop(key, None)) is None:
            return False
        subscription.feed.leave(self._connection)
        return True

    def _list(self, message: Mapping[str, Any]) -> None:
        told = [subscription.told for subscription in self._subscriptions.values()]
        self._connection.send(lambda notation: {"type": "subscriptions", "subscriptions": told})

    def close(self) -> None:
        """The client is gone."""
        for key in list(self._subscriptions):
            self._drop(key)
        self._desk.channels.release()
