"""Made-up trades of many markets, as the bus carries them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crosstape.common.bus.consumer import Batch, Share
from crosstape.common.bus.topics import TRADES
from crosstape.common.market.trade import Source, TradeColumns, batch_columns
from crosstape.history.sink.closing import Closing

NANOSECONDS = 1_000_000_000


def symbols(count: int) -> list[str]:
    """Canonical symbols."""
    return [f"S{n:04d}-USDT" for n in range(count)]


def records(
    markets: Sequence[str], first_row: int, rows: int, start: int, seconds: float, pieces: int = 4
) -> list[bytes]:
    """`rows` trades spread evenly over `markets` and over [start, start + seconds) (ns), each market's share in up to
    `pieces` records, encoded as on the bus. `first_row` is how many rows came before: ids go on from there."""
    share = rows // len(markets)
    size = max(1, -(-share // pieces))
    step = int(seconds * NANOSECONDS) // share
    found = []
    for place, symbol in enumerate(markets):
        first = 1 + first_row // len(markets)
        for begin in range(0, share, size):
            numbers = range(begin, min(share, begin + size))
            times = [start + n * step + place for n in numbers]
            found.append(
                TRADES.codec.encode(
                    batch_columns(
                        "binance",
                        symbol,
                        Source.STREAM,
                        TradeColumns(
                            [first + n for n in numbers],
                            times,
                            [f"{61_000 + (first + n) % 997}.{(first + n) % 100:02d}" for n in numbers],
                            [f"0.{(first + n) % 99_999 + 1:05d}" for n in numbers],
                            [1 if (first + n) % 3 else -1 for n in numbers],
                            [time + 3_000_000 for time in times],
                        ),
                    )
                )
            )
    return found


def batch(values: Sequence[bytes]) -> Batch:
    """What the consumer hands to the sink: records decoded."""
    return Batch({TRADES.name: [TRADES.codec.decode(value) for value in values]}, [], {}, 0)


EVERYTHING = Share(1, (0,))
"""All of the bus is ours."""


class Deaf:
    """Takes the place of the bus behind the sink, which is not what is measured."""

    async def deliver(self, topic: Any, key: bytes, record: Any) -> None:
        """Take it."""


async def close_all(closing: Closing) -> None:
    """Close every minute that is due."""
    while await closing.step():
        pass
