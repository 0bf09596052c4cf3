"""The protocol every exchange satisfies: tables and pure functions, no I/O, no clock, no other exchange.

The ingestor owns sockets, `crosstape.exchanges.rest` owns HTTP; both ask a dialect what to say and what was said.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import Trade

Event = Trade | BookUpdate
"""What a frame can say that the platform keeps."""

Frame = bytes
"""A socket's whole message."""

Decode = Callable[[Frame, int], Sequence[Event]]
"""(frame, time_received in ns) -> what it says, in the exchange's order; empty for acknowledgements and heartbeats.

Raises MalformedFrame when the frame is not what the exchange documents (or nests too deep), MarketRefused when it says
that one market is not sent, FeedError when it says that the stream cannot go on.
"""


class MalformedFrame(ValueError):
    """One frame is wrong: count it, log a sample, skip it. `kind` groups samples (`json`, `schema`, `symbol`, ...)."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class FeedError(Exception):
    """The stream is wrong: leave the connection, back off, subscribe again."""


class MarketRefused(Exception):
    """The exchange does not send market `symbol`, which may be delisted or halted: the others go on."""

    def __init__(self, message: str, symbol: str):
        super().__init__(message)
        self.symbol = symbol


class Rejected(Exception):
    """An exchange's REST answered with its own error. `is_transient` when the same request may succeed later,
    `is_refusal` when the exchange says that we ask too often, whatever we ask: then nothing is sent for a while."""

    def __init__(self, message: str, *, is_transient: bool = False, is_refusal: bool = False):
        super().__init__(message)
        self.is_transient = is_transient or is_refusal
        self.is_refusal = is_refusal


class HttpRequest(Struct, frozen=True):
    """A GET of `path` at the named address of the exchange; `weight` is what it costs of the exchange's rate limit."""

    address: str
    path: str
    params: dict[str, str] = {}
    weight: int = 1


class Channel(enum.StrEnum):
    """What to subscribe to."""

    TRADES = "trades"
    BOOK = "book"


class Subscription(Struct, frozen=True):
    """One socket: where to connect, what to send after connecting, and how to read and keep it.

    `path` is appended to the address; `messages` are sent in order once connected. `ping` (if any) is sent every few
    seconds: as text, or where it is empty as the protocol's own PING. `decode` is stateless. Silence longer than
    `stall_after` seconds, in which no PONG came either, means a dead socket.
    """

    address: str
    path: str
    messages: tuple[bytes, ...]
    instruments: tuple[Instrument, ...]
    channels: frozenset[Channel]
    decode: Decode
    ping: bytes | None = None
    stall_after: float = 60.0


class HistoryQuery(Struct, frozen=True):
    """Trades wanted of one instrument: ids [first_id, last_id] where the exchange numbers trades, and always the time
    range [start, end] (ns) that holds them. Without `last_id` a numbered query runs to the newest trade there is;
    without `first_id` the time range alone counts. `cursor` is what the page before returned."""

    instrument: Instrument
    first_id: int | None
    last_id: int | None
    start: int
    end: int
    cursor: str | None = None


class HistoryPage(Struct, frozen=True):
    """One page of history. `trades` may hold more than was asked for, in any order. `cursor` asks for the next page
    and is None at the end. `reaches_back` says that the pages so far leave out nothing from the query's beginning up to
    their newest trade, so that an id of those that the exchange did not return does not exist; False where its history
    does not go back so far. How far the history goes on is told by the trades alone: it may be behind the socket.
    `refused` are those whose price or quantity no tape can hold: a dialect leaves them in `trades`, ExchangeRest sets
    them apart. `since` and `until` (ns) say, where they are told, from when on and up to when nothing is left out:
    `since` where no trade shows it, `until` before the query's end where what follows has to be asked for anew, or
    behind it."""

    trades: list[Trade]
    cursor: str | None
    reaches_back: bool
    refused: list[Trade] = []
    since: int | None = None
    until: int | None = None


class Kline(Struct, frozen=True, array_like=True):
    """One of the exchange's own candles: `open_time` in ms; prices and volume (base) as decimal text."""

    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str


class Klines(Struct, frozen=True):
    """What an exchange answers for a range of candles, oldest first. None that opens from `complete_from` (ms) on is
    missing: later than the range's start, or even than its end, where the exchange no longer gives older ones."""

    rows: list[Kline]
    complete_from: int


class RateLimit(Struct, frozen=True):
    """At most `weight` of requests per `seconds` to one address."""

    weight: int
    seconds: float


class StreamedBooks:
    """The part of a dialect whose exchange sends a book's snapshot on the socket."""

    exchange: str

    def book_snapshot(self, instrument: Instrument) -> HttpRequest | None:
        return None

    def decode_book_snapshot(self, instrument: Instrument, body: bytes, time_received: int) -> BookUpdate:
        raise Rejected(f"{self.exchange}: the socket sends its own snapshots")


class Dialect(Protocol):
    """What differs between exchanges.

    `addresses` maps address names (`spot.rest`, `stream`) to the real origins (`https://...`, `wss://...`).
    `rate_limits` names those of the addresses that take requests. `refused_seconds` says how long a refusal, by its
    HTTP status, lasts where the answer does not; for one that only its body tells, that of 429 counts.
    `klines_per_request` is how many candles one answer holds, None where one answers for any range. `klines_reach` is
    how many of its newest candles, the open one among them, are all that an exchange gives, None where it gives all.
    """

    exchange: str
    addresses: Mapping[str, str]
    rate_limits: Mapping[str, RateLimit]
    refused_seconds: Mapping[int, float]
    klines_per_request: int | None
    klines_reach: int | None

    def markets(self) -> Sequence[HttpRequest]:
        """The requests that together list every spot market and perpetual future."""
        ...

    def decode_markets(self, bodies: Sequence[bytes]) -> list[Instrument]:
        """Instruments of the answers to `markets()`, tradable ones only. Raises MalformedFrame, Rejected."""
        ...

    def subscriptions(self, instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
        """The sockets that carry `channels` of `instruments`, within the exchange's limits per connection."""
        ...

    def numbers_trades(self, instrument: Instrument) -> bool:
        """Whether the market's trade ids are consecutive integers, so that a hole in them is a lost trade."""
        ...

    def history(self, query: HistoryQuery) -> HttpRequest:
        """The request for the next page of `query`."""
        ...

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        """The page that answers `history(query)`. Raises MalformedFrame, Rejected."""
        ...

    def book_snapshot(self, instrument: Instrument) -> HttpRequest | None:
        """The request for a book snapshot where the socket does not send one, else None."""
        ...

    def decode_book_snapshot(self, instrument: Instrument, body: bytes, time_received: int) -> BookUpdate:
        """The snapshot that answers `book_snapshot`. Raises MalformedFrame, Rejected."""
        ...

    def continues(self, last_id: int | None, update: BookUpdate) -> bool | None:
        """Whether `update` follows a book whose newest sequence number is `last_id`: True to apply it, None to skip
        it as already contained, False when something is missing and the book must be taken anew."""
        ...

    def verify(self, book: OrderBook, update: BookUpdate) -> bool:
        """Whether the book after `update` agrees with the checksum the exchange sent with it (True where none)."""
        ...

    def intervals(self) -> Sequence[Interval]:
        """The candle lengths the exchange offers."""
        ...

    def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> HttpRequest:
        """The request for candles that open in [start, end) ms, a range of at most `klines_per_request`."""
        ...

    def decode_klines(self, instrument: Instrument, body: bytes) -> list[Kline]:
        """The candles of the answer, oldest first. Raises MalformedFrame, Rejected."""
        ...
