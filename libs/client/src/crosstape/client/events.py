"""Events: what a stream tells, as values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from msgspec import Struct

from crosstape.client.bars import Bar
from crosstape.client.books import Book, ConsolidatedBook
from crosstape.client.orders import Side
from crosstape.client.times import utc
from crosstape.client.trades import TakerSide


class Event(Struct, frozen=True, kw_only=True):
    """What the events of a channel have: where they stand in it, None in a replay.

    Offsets grow, but not one by one; that of a consolidated tape is text, the position on each exchange.
    """

    channel: str
    offset: int | str | None


class TradeEvent(Event, frozen=True, kw_only=True):
    """A trade, as it happens. `timestamp` is Unix seconds, `side` the taker's.

    On a consolidated tape `cvd` is each exchange's volume delta of the day so far (None while not known), `cvd_total`
    their sum, and `late` says that a trade of a later time was told before.
    """

    exchange: str
    symbol: str
    trade_id: int | str
    timestamp: Decimal
    price: Decimal
    quantity: Decimal
    side: TakerSide
    cvd: dict[str, Decimal | None] = {}
    cvd_total: Decimal | None = None
    late: bool = False

    @property
    def time(self) -> dt.datetime:
        return utc(self.timestamp)


class BarClose(Event, frozen=True, kw_only=True):
    """A bar is over; REST already answers the very same one."""

    bar: Bar


class BarRevision(Event, frozen=True, kw_only=True):
    """A late trade changed a closed bar."""

    bar: Bar
    revision: int


class BookEvent(Event, frozen=True, kw_only=True):
    """The newest state of one exchange's book; it agrees with its checksum."""

    book: Book


class ConsolidatedBookEvent(Event, frozen=True, kw_only=True):
    """The newest state of the book over all exchanges; it agrees with its checksum."""

    book: ConsolidatedBook


class WrongBook(Event, frozen=True, kw_only=True):
    """A book came that does not agree with its checksum and is not shown; the next one replaces it."""


class BookStale(Struct, frozen=True, kw_only=True):
    """There is no right book to show until the next one comes."""

    channel: str
    exchange: str
    symbol: str
    reason: str


class OrderEvent(Event, frozen=True, kw_only=True):
    """Something happened to one of the caller's orders: accepted, slice, fill, closed, cancelled.

    `number` counts the order's events from 0. `price` and `quantity` are those of the slice or the fill,
    `filled_quantity` what is filled so far; each is None where it says nothing. `timestamp` is Unix seconds.
    """

    event: str
    order_id: str
    number: int
    timestamp: Decimal
    username: str = ""
    exchange: str | None = None
    symbol: str | None = None
    side: Side | None = None
    reason: str | None = None
    price: Decimal | None = None
    quantity: Decimal | None = None
    filled_quantity: Decimal | None = None


class ReplayComplete(Struct, frozen=True, kw_only=True):
    """History has been told; what follows on these channels (by their canonical names) is live."""

    epoch: str
    channels: tuple[str, ...]


class Subscribed(Struct, frozen=True, kw_only=True):
    """The server sends `channel` from now on; before it, nothing was had of it."""

    channel: str


class Unsubscribed(Struct, frozen=True, kw_only=True):
    """The server does not send `channel` any more."""

    channel: str


class Recovered(Struct, frozen=True, kw_only=True):
    """The connection broke, and everything of `channel` that was missed follows."""

    channel: str


class Gap(Struct, frozen=True, kw_only=True):
    """Something of `channel` was missed for good: what came after the offset `after` up to now. REST may have it.

    A replay that was broken off (`after` is None) is not taken up again: the channel goes on live.
    """

    channel: str
    after: int | str | None


class Refused(Struct, frozen=True, kw_only=True):
    """The server refused something, and the stream goes on. `channel` is what it was about, where it says so.

    `will_retry`: it will be asked for again by itself; otherwise the stream gives it up.
    """

    error_code: str
    message: str
    channel: str | None = None
    details: dict[str, Any] = {}
    will_retry: bool = False


class Disconnected(Struct, frozen=True, kw_only=True):
    """The connection is lost and will be made again in `retry_in` seconds. `code` is the closing code, 0 without."""

    code: int
    reason: str
    retry_in: float


class Unknown(Struct, frozen=True, kw_only=True):
    """A message of a type that this SDK does not know."""

    type: str
    data: dict[str, Any]


ChannelEvent = (
    TradeEvent
    | BarClose
    | BarRevision
    | BookEvent
    | ConsolidatedBookEvent
    | BookStale
    | WrongBook
    | OrderEvent
    | ReplayComplete
)
StreamEvent = ChannelEvent | Subscribed | Unsubscribed | Recovered | Gap | Refused | Disconnected | Unknown
