"""The account's side of the live connection: one stream with a book and the account's own orders."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from crosstape.client import (
    Book,
    BookEvent,
    BookStale,
    Client,
    Conflict,
    ConsolidatedBook,
    ConsolidatedBookEvent,
    CrosstapeError,
    Gap,
    Order,
    OrderEvent,
    OrderNotFound,
    Refused,
    Stream,
    StreamEvent,
    Subscribed,
)
from crosstape.dashboard.follower import Follower, Link

BOOK_LEVELS = 50
BOOK_MILLISECONDS = 500
RECENT_ORDERS = 12

REFRESH_SECONDS = 30.0
"""An open order is read again so often, lest an event was lost with its connection: else it is when an event came."""

NOTICES = 20
ENDS = "closed", "cancelled"
"""Events after which none of their order comes."""


@dataclass(frozen=True, slots=True)
class BookState:
    """The book that is followed. Without `book`, `reason` says why there is none, where that is known."""

    link: Link
    channel: str
    book: Book | ConsolidatedBook | None
    reason: str = ""
    received: float = 0.0
    """When it came, on the monotonic clock."""


class TradingFeed:
    """Follows one book at a time, and the orders of the account `username`, from `start` to `close`."""

    def __init__(self, client: Client, username: str) -> None:
        self._client = client
        self._username = username
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._channel = ""
        self._book: Book | ConsolidatedBook | None = None
        self._reason = ""
        self._received = 0.0
        self._orders: dict[str, Order] = {}
        self._read_at: dict[str, float] = {}
        self._changed: set[str] = set()
        self._passed: set[str] = set()
        self._has_listed = False
        self._notices: deque[OrderEvent] = deque(maxlen=NOTICES)
        self._follower: Follower[StreamEvent] = Follower("trading", self._open, self._take, self._subscribe)

    @property
    def link(self) -> Link:
        return self._follower.link

    def start(self) -> None:
        self._follower.start()

    def close(self) -> None:
        self._follower.close()

    def follow_book(self, exchange: str, symbol: str) -> None:
        """Follow this book (`*`: of all exchanges) and no other."""
        channel = f"book:{exchange}:{symbol}"
        with self._lock:
            if channel == self._channel:
                return
            before, self._channel = self._channel, channel
            self._book, self._reason = None, ""
            stream = self._stream
        if stream is not None:
            if before:
                stream.unsubscribe(before)
            stream.subscribe(channel, depth=BOOK_LEVELS, interval_ms=BOOK_MILLISECONDS)

    def book(self) -> BookState:
        """The book as it is now."""
        with self._lock:
            return BookState(self.link, self._channel, self._book, self._reason, self._received)

    def notices(self) -> list[OrderEvent]:
        """What happened to orders since the last call."""
        with self._lock:
            told = list(self._notices)
            self._notices.clear()
            return told

    def orders(self) -> list[Order]:
        """The account's own latest orders, newest first, as far as changes are known. Raises CrosstapeError."""
        self._list()
        for order_id in self._due():
            with self._lock:
                self._changed.discard(order_id)  # before it is asked for: what happens meanwhile is another change
            try:
                self._keep(self._client.order(order_id, username=self._username))
            except (OrderNotFound, Conflict):
                pass  # that one alone cannot be read, now or later
            except CrosstapeError:
                self.add(order_id)
                raise
        return self.known_orders()

    def _list(self) -> None:
        """Learn which orders there are, where that is not known yet, or not any more."""
        with self._lock:
            is_known, self._has_listed = self._has_listed, True  # what is missed from here on is looked for again
        if is_known:
            return
        try:
            # By name, because an admin's list has everybody's.
            own = self._client.orders(username=self._username, limit=RECENT_ORDERS)
        except CrosstapeError:
            self._has_listed = False
            raise
        with self._lock:
            over = {order.order_id for order in self._orders.values() if order.status != "open"}
            self._changed |= {summary.order_id for summary in own} - over

    def known_orders(self) -> list[Order]:
        """The same as they were read last, without asking anybody."""
        with self._lock:
            return list(self._orders.values())

    def add(self, order_id: str) -> None:
        """Show this order, which was just submitted, at once."""
        with self._lock:
            self._changed.add(order_id)

    def _keep(self, order: Order) -> None:
        """Take an order that was read among the newest. One that is older than those is never shown, nor read again."""
        with self._lock:
            known = {**self._orders, order.order_id: order}
            newest = sorted(known.values(), key=lambda one: str(one.created_at), reverse=True)
            self._orders = {one.order_id: one for one in newest[:RECENT_ORDERS]}
            self._passed.update(one.order_id for one in newest[RECENT_ORDERS:] if one.status == "open")
            self._read_at[order.order_id] = time.monotonic()
            self._read_at = {known: at for known, at in self._read_at.items() if known in self._orders}
            self._changed -= self._passed

    def _due(self) -> set[str]:
        now = time.monotonic()
        with self._lock:
            open_ones = {
                order_id
                for order_id, order in self._orders.items()
                if order.status == "open" and now - self._read_at[order_id] > REFRESH_SECONDS
            }
            return self._changed | open_ones

    def _open(self) -> Stream:
        stream = self._client.stream()
        with self._lock:
            self._stream = stream
        return stream

    def _subscribe(self) -> None:
        with self._lock:
            stream, channel = self._stream, self._channel
        if stream is not None:
            stream.subscribe("orders")
            if channel:
                stream.subscribe(channel, depth=BOOK_LEVELS, interval_ms=BOOK_MILLISECONDS)

    def _take(self, event: StreamEvent | Refused) -> None:
        with self._lock:
            match event:
                case BookEvent(book=book) | ConsolidatedBookEvent(book=book) if self._is_followed(event.channel):
                    self._book, self._reason, self._received = book, "", time.monotonic()
                case BookStale(reason=reason) if self._is_followed(event.channel):
                    self._book, self._reason = None, reason
                case Refused(message=message) if self._is_followed(event.channel):
                    self._book, self._reason = None, message
                case OrderEvent(order_id=order_id):
                    if order_id not in self._passed:
                        self._changed.add(order_id)
                    elif event.event in ENDS:
                        self._passed.remove(order_id)  # nothing more is told of it
                    self._notices.append(event)
                case Gap(channel="orders") | Subscribed(channel="orders"):
                    self._has_listed = False  # orders may have been placed elsewhere meanwhile
                case _:
                    pass  # acknowledgements, and what is told late of a book that is not followed any more

    def _is_followed(self, channel: str | None) -> bool:
        """Whether it is of the book that was asked for last: what is told late of the one before is passed over."""
        return channel is not None and channel.upper() == self._channel.upper()
