"""Live books: /ws. Always the newest state, never a history."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from crosstape.client.errors import RateLimited, error_class, is_passing
from crosstape.client.events import BookEvent, BookStale, ConsolidatedBookEvent, Refused, Unknown, WrongBook
from crosstape.client.feed import Feed
from crosstape.client.frame import Frame, Head, decode, event_of, refusal
from crosstape.client.transport import Transport

BookFeedEvent = BookEvent | ConsolidatedBookEvent | BookStale | WrongBook | Unknown


_Book = tuple[str, str]
"""Exchange and symbol, as they were asked for."""


AT_ONCE, A_SECOND = 50, 15
"""Messages of ours on a new connection and from then on: the server takes 60 at once and 20 a second."""


class _Conversation:
    """What is subscribed to. Errors name the book they are about."""

    def __init__(self) -> None:
        self._messages: dict[_Book, dict[str, Any]] = {}
        self._postponed: dict[_Book, None] = {}

    def add(self, book: _Book, message: dict[str, Any]) -> dict[str, Any]:
        self._messages[book] = message
        return message

    def remove(self, book: _Book) -> None:
        self._messages.pop(book, None)
        self._postponed.pop(book, None)

    def opening(self) -> list[dict[str, Any]]:
        self._postponed = dict.fromkeys(self._messages)
        return self._next(AT_ONCE)

    def again(self) -> list[dict[str, Any]]:
        return self._next(A_SECOND)

    def _next(self, most: int) -> list[dict[str, Any]]:
        books = list(islice(self._postponed, most))
        for book in books:
            del self._postponed[book]
        return [self._messages[book] for book in books]

    def read(self, frame: Frame) -> BookFeedEvent | Refused | None:
        head = decode(frame, Head)
        if head.type == "error":
            return self._refused(head)
        if not head.type:
            return None
        event = event_of(head.type, frame)
        return event if isinstance(event, BookFeedEvent) else None

    def _refused(self, head: Head) -> Refused:
        event, book = refusal(head), (head.exchange, head.symbol)
        if head.action != "subscribe" or book not in self._messages:
            return event
        will_retry = is_passing(event.error_code) or error_class(event.error_code) is RateLimited
        if will_retry:
            self._postponed[book] = None
        else:
            self.remove(book)
        return msgspec.structs.replace(event, channel=f"book:{book[0]}:{book[1]}", will_retry=will_retry)


class BookFeed(Feed[BookFeedEvent]):
    """Subscribe to books and iterate. Exchange `*` is the consolidated book over all exchanges."""

    def __init__(self, transport: Transport, *, packed: bool):
        self._books = _Conversation()
        super().__init__(transport, "/ws", self._books, packed=packed)

    async def subscribe(
        self, exchange: str, symbol: str, *, depth: int | None = None, interval_ms: int | None = None
    ) -> None:
        """Follow a book: the best `depth` levels a side, at most every `interval_ms`."""
        asked = {"exchange": exchange, "symbol": symbol, "depth": depth, "interval_ms": interval_ms}
        message = {"action": "subscribe"} | {name: value for name, value in asked.items() if value is not None}
        await self.send(self._books.add((exchange, symbol), message))

    async def unsubscribe(self, exchange: str, symbol: str) -> None:
        """Do not follow it any more."""
        self._books.remove((exchange, symbol))
        await self.send({"action": "unsubscribe", "exchange": exchange, "symbol": symbol})
