"""Trade: one execution that an exchange reported. The sign of volume delta is defined here, once."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from msgspec import Struct

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


class TradeBatch(Struct, frozen=True, array_like=True, gc=False):
    """Trades of one market as columns of equal length: one record of topic `trades`.

    Columns, because that is what the store inserts: nothing is transposed on the way. Readers must tolerate a repeat
    of any trade and any order of trades.
    """

    exchange: str
    symbol: str
    source: Source
    trade_id: list[TradeId]
    time: list[int]
    price: list[str]
    quantity: list[str]
    side: list[int]
    time_received: list[int]

    def __post_init__(self) -> None:
        size = len(self.trade_id)
        columns = (self.time, self.price, self.quantity, self.side, self.time_received)
        if any(len(column) != size for column in columns):
            raise ValueError("columns of unequal length")

    def __len__(self) -> int:
        return len(self.trade_id)

    def trades(self) -> list[Trade]:
        """The same trades as rows."""
        return [
            Trade(self.exchange, self.symbol, i, t, p, q, TakerSide(s), r)
            for i, t, p, q, s, r in zip(
                self.trade_id, self.time, self.price, self.quantity, self.side, self.time_received, strict=True
            )
        ]


def batch_trades(trades: Sequence[Trade], source: Source) -> TradeBatch:
    """One batch of `trades`, which are all of one market. Raises IndexError when there are none."""
    first = trades[0]
    return TradeBatch(
        first.exchange,
        first.symbol,
        source,
        [t.trade_id for t in trades],
        [t.time for t in trades],
        [t.price for t in trades],
        [t.quantity for t in trades],
        [t.side for t in trades],
        [t.time_received for t in trades],
    )


def trade_id(text: str) -> TradeId:
    """The one form of an id: an int where it is a plain number below 2**63, else the text itself."""
    if len(text) <= 19 and text.isdigit() and text.isascii() and (text[0] != "0" or len(text) == 1):
        number = int(text)
        if number < _UINT63:
            return number
    return text
