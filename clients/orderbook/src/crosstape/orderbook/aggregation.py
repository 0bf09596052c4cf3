"""The aggregation: what a feed of books told so far, as a view. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from crosstape.client import (
    Book,
    BookEvent,
    BookFeedEvent,
    BookStale,
    ConsolidatedBook,
    ConsolidatedBookEvent,
    Disconnected,
    Refused,
    WrongBook,
)
from crosstape.client.errors import error_class
from crosstape.orderbook.view import View, consolidated_view, merged_view

EVERYWHERE = "*"
CONNECTING, LIVE = "connecting", "live"
_WAITING = "no book yet"
OTHER_NAMES = {"coinbase": "coinbasepro", "coinbaseexchange": "coinbasepro"}
"""Further names of exchanges that the platform takes, and the names that their books come under."""


class Aggregation:
    """One symbol on the chosen exchanges, or consolidated over all of them where none is chosen.

    `connection` says how the feed is. Books of before a lost connection are not shown: nobody knows whether they hold.
    """

    def __init__(self, symbol: str, exchanges: Sequence[str]):
        self.symbol = symbol
        self.connection = CONNECTING
        names = [name.strip().lower() for name in exchanges if name.strip()]
        self._chosen = list(dict.fromkeys(OTHER_NAMES.get(name, name) for name in names))
        self._books: dict[str, Book | ConsolidatedBook | str] = dict.fromkeys(self.exchanges, _WAITING)

    @property
    def exchanges(self) -> Sequence[str]:
        """What to subscribe to."""
        return self._chosen or [EVERYWHERE]

    def apply(self, event: BookFeedEvent | Refused | Disconnected) -> None:
        """Take note of an event. Raises the ApiError of a book that is refused for good."""
        if isinstance(event, Disconnected):
            self.connection = f"reconnecting ({event.reason or event.code or 'connection lost'})"
            self._books = dict.fromkeys(self._books, _WAITING)
        elif isinstance(event, Refused):
            if not event.will_retry:
                raise error_class(event.error_code)(event.error_code, event.message, details=event.details)
            self.connection = f"waiting ({event.message})"
        elif isinstance(event, BookEvent | ConsolidatedBookEvent):
            self._keep(event.book.exchange if isinstance(event, BookEvent) else EVERYWHERE, event.book)
        elif isinstance(event, BookStale):
            self._keep(event.exchange, event.reason)
        elif isinstance(event, WrongBook):
            self._keep(event.channel.split(":")[1], "wrong checksum")

    def _keep(self, exchange: str, book: Book | ConsolidatedBook | str) -> None:
        self.connection = LIVE
        self._books[exchange] = book

    def view(self, depth: int) -> View:
        """What there is to show."""
        everywhere = self._books.get(EVERYWHERE)
        if isinstance(everywhere, ConsolidatedBook):
            return consolidated_view(self.symbol, everywhere)
        if isinstance(everywhere, str):
            return View(self.symbol, away=(("all exchanges", everywhere),))
        return merged_view(self.symbol, self._books, depth)
