"""Parent order: what a user asked for, and how far it has come. Pure values; quantities are exact decimals in base."""

from __future__ import annotations

import enum
from decimal import Decimal

from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.instrument import split_symbol


class Side(enum.StrEnum):
    """What the order does."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """1 where a lower price is the better one, else -1."""
        return 1 if self is Side.BUY else -1


class Status(enum.StrEnum):
    """`open` while slices may run; the other two are final."""

    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class CloseReason(enum.StrEnum):
    """`completed`: all of it is filled. `expired`: the schedule ended before that."""

    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Shortfall(enum.StrEnum):
    """Why a slice got less than it asked for, or asked for nothing."""

    NO_LIVE_BOOK = "no_live_book"
    PRICE_BEYOND_LIMIT = "price_beyond_limit"
    NO_LIQUIDITY = "no_liquidity"
    BELOW_LOT = "below_lot"
    ORDER_LIMIT = "order_limit"
    DAY_LIMIT = "day_limit"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    NOT_FOUND = "not_found"


class Market(Struct, frozen=True, order=True, array_like=True, gc=False):
    """Where a part of an order may be filled: an exchange and its canonical symbol there."""

    exchange: str
    symbol: str

    @property
    def quote(self) -> str:
        """The currency of its prices."""
        return split_symbol(self.symbol)[1]


class ParentOrder(Struct, frozen=True, kw_only=True, gc=False):
    """An accepted order; nothing of it ever changes.

    `id` is the database's own number for it, `order_id` the user's, unique per user. `symbol` and `exchange` are as
    the user wrote them (no exchange: every one that has the symbol), `markets` what they came to, `quote_aliases` by
    exchange the quote of those that have another than the one asked for. `duration` and `interval` are seconds, `start`
    UTC in ns: slice k is due at start + k * interval. `lot` is the step of a slice's quantity.
    Invariants: total_quantity, limit_price, lot > 0; interval <= duration; at least one market.
    """

    id: int
    user_id: str
    username: str
    order_id: str
    symbol: str
    exchange: str
    markets: tuple[Market, ...]
    quote_aliases: dict[str, str] = {}
    side: Side
    total_quantity: Decimal
    limit_price: Decimal
    duration: int
    interval: int
    lot: Decimal
    start: int

    @property
    def slices(self) -> int:
        """How many there are, both ends included: 5 s by 1 s are six."""
        return self.duration // self.interval + 1

    @property
    def interval_ns(self) -> int:
        return self.interval * NANOSECONDS

    @property
    def end(self) -> int:
        """When the last slice is due (UTC, ns)."""
        return self.start + (self.slices - 1) * self.interval_ns


class Benchmark(Struct, frozen=True, gc=False):
    """What the market itself did over some time, as far as it was seen.

    `mid_time` is the integral of the mid price over `seconds` of a live book; `notional` and `volume` are the trades'.
    Two of them add up, so an order's is the sum of its slices' and survives a change of replica.
    """

    mid_time: Decimal = Decimal()
    seconds: Decimal = Decimal()
    notional: Decimal = Decimal()
    volume: Decimal = Decimal()

    def __add__(self, other: Benchmark) -> Benchmark:
        return Benchmark(
            self.mid_time + other.mid_time,
            self.seconds + other.seconds,
            self.notional + other.notional,
            self.volume + other.volume,
        )

    def __sub__(self, other: Benchmark) -> Benchmark:
        return Benchmark(
            self.mid_time - other.mid_time,
            self.seconds - other.seconds,
            self.notional - other.notional,
            self.volume - other.volume,
        )


class Progress(Struct, frozen=True, gc=False):
    """How far an order has come. Invariants: 0 <= filled <= total_quantity; open means next_slice < slices.

    `next_slice` is the first that has not run. `notional` (price * quantity) and `fees` are in quote.
    `events` counts what was told of the order. `arrival_price` is the mid price when it was accepted, or the first
    one seen afterwards.
    """

    status: Status = Status.OPEN
    close_reason: CloseReason | None = None
    next_slice: int = 0
    slices_run: int = 0
    filled: Decimal = Decimal()
    notional: Decimal = Decimal()
    fees: Decimal = Decimal()
    arrival_price: Decimal | None = None
    benchmark: Benchmark = Benchmark()
    events: int = 0


class Fill(Struct, frozen=True, gc=False):
    """A part of a slice executed at one price on one exchange, and its receipt.

    `book_hash` names the book it was taken from (see `books.book_hash`), empty at a real exchange; `fee` is in quote.
    `cost` is what was paid or got (quote) where `price` is an average, and so not always that by the quantity.
    """

    exchange: str
    symbol: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    book_hash: str
    cost: Decimal | None = None

    @property
    def notional(self) -> Decimal:
        """What was paid or got, in quote; exact within `schedule.EXACT`."""
        return self.price * self.quantity if self.cost is None else self.cost


class SliceResult(Struct, frozen=True, gc=False):
    """What came of one slice: what it asked for and got, why not all of it (`reason`, a Shortfall, or empty), and its
    receipts' benchmarks.

    `mid_price` is the mid when the slice started (None without a live book), `benchmark` the market since the slice
    before. Times are UTC in ns.
    """

    number: int
    due: int
    started: int
    quantity: Decimal
    fills: tuple[Fill, ...]
    reason: str
    mid_price: Decimal | None
    benchmark: Benchmark

    @property
    def filled(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), Decimal())
