"""Every topic: its name, its record type, and how many partitions it has on Kafka."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

from crosstape.common.bus.codec import Codec
from crosstape.common.market.bar import Bar
from crosstape.common.market.book import BookEvent
from crosstape.common.market.ledger import LedgerEvent
from crosstape.common.market.order import OrderEvent
from crosstape.common.market.trade import TradeBatch

Record = TypeVar("Record")

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""The largest record: a full book of the exchange with the most levels fits several times."""


class DeadLetter(Struct, frozen=True, array_like=True):
    """A record that could not be used: where it stood, why, and its bytes (the first 256 KiB of them)."""

    topic: str
    partition: int
    offset: int
    key: str
    reason: str
    value: bytes


class Topic(Generic[Record]):
    """A topic carries one type of record; the key of a market's records is `exchange:symbol`, so order is kept per
    market and a market's records share a partition. What `is_kept` is never deleted."""

    def __init__(self, name: str, record_type: object, partitions: int, *, is_kept: bool = False):
        self.name = name
        self.partitions = partitions
        self.is_kept = is_kept
        self.codec: Codec[Record] = Codec(record_type)


def market_key(exchange: str, symbol: str) -> bytes:
    """The key of one market's records."""
    return f"{exchange}:{symbol}".encode()


TRADES: Topic[TradeBatch] = Topic("trades", TradeBatch, 6)
BOOKS: Topic[BookEvent] = Topic("books", BookEvent, 6)
LEDGER: Topic[LedgerEvent] = Topic("ledger", LedgerEvent, 1)
BARS: Topic[list[Bar]] = Topic("bars", list[Bar], 6)
ORDERS: Topic[OrderEvent] = Topic("orders", OrderEvent, 6)
DEAD_LETTERS: Topic[DeadLetter] = Topic("dead-letters", DeadLetter, 1)
EPOCH: Topic[str] = Topic("epoch", str, 1, is_kept=True)
"""Its first record names the log: a broker that came back empty has another one."""

ALL_TOPICS = (TRADES, BOOKS, LEDGER, BARS, ORDERS, DEAD_LETTERS, EPOCH)
