"""Live books: /ws. Always the newest state, never a history."""

from __future__ import annotations

from collections import deque
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


class _Conversation:
    """What is subscribed to. Answers come in the order of the questions, and errors do not say what they are about."""

    def __init__(self) -> None:
        self._messages: dict[_Book, dict[str, Any]] = {}
        self._unanswered: deque[_Book] = deque()
        self._postponed: dict[_Book, None] = {}

    def add(self, book: _Book, message: dict[str, Any]) -> dict[str, Any]:
        self._messages[book] = message
        self._unanswered.append(book)
        return message

    def remove(self, book: _Book) -> None:
        self._messages.pop(book, None)

    def opening(self) -> list[dict[str, Any]]:
        self._postponed.clear()
        self._unanswered = deque(self._messages)
        return list(self._messages.values())

    def again(self) -> list[dict[str, Any]]:
        books = [book for book in self._postponed if book in self._messages]
        self._postponed.clear()
        self._unanswered.extend(books)
        return [self._messages[book] for book in books]

    def read(self, frame: Frame) -> BookFeedEvent | Refused | None:
        head = decode(frame, Head)
        if head.type == "error":
            return self._refused(refusal(head))
        if not head.type:
            self._answered(head.message)
            return None
        event = event_of(head.type, frame)
        return event if isinstance(event, BookFeedEvent) else None

    def _answered(self, message: str) -> None:
        for book in self._unanswered:
            if message == f"Subscribed to {book[0]} {book[1]}":
                self._unanswered.remove(book)
                return

    def _refused(self, event: Refused) -> Refused:
        if not self._unanswered:
            return event
        book = self._unanswered.popleft()
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
