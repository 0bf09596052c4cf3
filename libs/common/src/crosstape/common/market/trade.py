"""Trade: one execution that an exchange reported. The sign of volume delta is defined here, once."""

from __future__ import annotations

import enum
import sys
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

INTEGER_BYTES = 8

TradeId = int | str
"""An int where the exchange numbers its trades, else its text (UUIDs). See `trade_id`."""

_UINT63 = 1 << 63


class TakerSide(enum.IntEnum):
    """The side of the order that took liquidity (the aggressor), never the resting maker's.

    Its value is the sign of the trade's quantity in volume delta: a taker buy adds, a taker sell subtracts, a side the
    exchange does not tell counts in volume only.
    """

    BUY = 1
    SELL = -1
    UNKNOWN = 0


class Source(enum.IntEnum):
    """Where a copy of a trade came from. Among copies of one trade the higher rank wins, whenever it arrives."""

    STREAM = 1
    HISTORY = 2


class Trade(Struct, frozen=True, array_like=True, gc=False):
    """One execution. Its identity is (exchange, symbol, trade_id): however often it arrives, it counts once.

    `time` is the exchange's trade time and `time_received` ours, both integer nanoseconds since the epoch, UTC.
    `price` is quote per unit of base and `quantity` is in base, both the exchange's own decimal text, positive.
    """

    exchange: str
    symbol: str
    trade_id: TradeId
    time: int
    price: str
    quantity: str
    side: TakerSide
    time_received: int


class TradeColumns(NamedTuple):
    """Trades of one market as lists of equal length, fields as those of Trade."""

    trade_id: list[TradeId]
    time: list[int]
    price: list[str]
    quantity: list[str]
    side: list[int]
    time_received: list[int]


class TradeBatch(Struct, frozen=True, array_like=True, gc=False):
    """Trades of one market, at least one, as packed columns: one record of topic `trades`.

    Columns, because that is what the store inserts, and packed, because then it need not look at each value: integers
    are 8 bytes each, little-endian (`side`: 1 byte); `price` and `quantity` have one decimal text a line; `trade_id`
    is packed too where all ids are numbers, else it is a list of their texts. Readers must tolerate a repeat of any
    trade and any order of trades.
    """

    exchange: str
    symbol: str
    source: Source
    trade_id: bytes | list[str]
    time: bytes
    price: str
    quantity: str
    side: bytes
    time_received: bytes

    def __post_init__(self) -> None:
        size = len(self.side)
        packed = size * INTEGER_BYTES
        if not (
            size
            and len(self.trade_id) == (packed if isinstance(self.trade_id, bytes) else size)
            and len(self.time) == len(self.time_received) == packed
            and self.price.count("\n") == self.quantity.count("\n") == size - 1
        ):
            raise ValueError("columns of unequal length")

    def __len__(self) -> int:
        return len(self.side)

    def identity(self) -> dict[str, str | int]:
        """What logs and traces call it by: the market, the first and the last trade's id, and how many there are."""
        ids = self.trade_id
        first: TradeId
        last: TradeId
        if isinstance(ids, bytes):
            first, last = unpack(ids[:INTEGER_BYTES])[0], unpack(ids[-INTEGER_BYTES:])[0]
        else:
            first, last = ids[0], ids[-1]
        return {
            "exchange": self.exchange,
            "symbol": self.symbol,
            "first_trade_id": first,
            "last_trade_id": last,
            "trades": len(self),
        }

    def columns(self) -> TradeColumns:
        """The same trades as lists."""
        ids: list[TradeId] = (
            [*unpack(self.trade_id)] if isinstance(self.trade_id, bytes) else [*map(trade_id, self.trade_id)]
        )
        return TradeColumns(
            ids,
            [*unpack(self.time)],
            self.price.split("\n"),
            self.quantity.split("\n"),
            [*array("b", self.side)],
            [*unpack(self.time_received)],
        )

    def trades(self) -> list[Trade]:
        """The same trades as rows. Raises ValueError for a side that there is not."""
        return [
            Trade(self.exchange, self.symbol, i, t, p, q, TakerSide(s), r)
            for i, t, p, q, s, r in zip(*self.columns(), strict=True)
        ]


def batch_trades(trades: Sequence[Trade], source: Source) -> TradeBatch:
    """One batch of `trades`, which are all of one market. Raises IndexError when there are none, ValueError when a
    price or a quantity has a line break."""
    first = trades[0]
    columns = TradeColumns(
        [t.trade_id for t in trades],
        [t.time for t in trades],
        [t.price for t in trades],
        [t.quantity for t in trades],
        [t.side for t in trades],
        [t.time_received for t in trades],
    )
    return batch_columns(first.exchange, first.symbol, source, columns)


def batch_columns(exchange: str, symbol: str, source: Source, columns: TradeColumns) -> TradeBatch:
    """One batch of `columns`. Raises ValueError when they differ in length or are empty, OverflowError for integers
    that 64 bits can't hold."""
    try:
        ids: bytes | list[str] = _pack(columns.trade_id)  # type: ignore[arg-type]  # texts among them raise TypeError
    except TypeError:
        ids = [*map(str, columns.trade_id)]
    return TradeBatch(
        exchange,
        symbol,
        source,
        ids,
        _pack(columns.time),
        "\n".join(columns.price),
        "\n".join(columns.quantity),
        array("b", columns.side).tobytes(),
        _pack(columns.time_received),
    )


def _pack(numbers: list[int]) -> bytes:
    packed = array("q", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(column: bytes) -> array[int]:
    """The integers of a packed column."""
    numbers = array("q")
    numbers.frombytes(column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def trade_id(text: str) -> TradeId:
    """The one form of an id: an int where it is a plain number below 2**63, else the text itself."""
    if len(text) <= 19 and text.isdigit() and text.isascii() and (text[0] != "0" or len(text) == 1):
        number = int(text)
        if number < _UINT63:
            return number
    return text
