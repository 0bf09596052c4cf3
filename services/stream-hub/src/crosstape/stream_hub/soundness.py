"""What may enter the hub's tape: the rule of the store, so that both count the same trades. Pure."""

from __future__ import annotations

from crosstape.common.market.decimals import are_positive_decimal_lines, is_positive_decimal
from crosstape.common.market.trade import Trade, TradeBatch, unpack

EARLIEST = 1_230_768_000_000_000_000
"""2009-01-01: before the first trade there could be, in ns."""
DAY = 86_400_000_000_000


def sound_trades(batch: TradeBatch, now: int) -> list[Trade]:
    """The trades of `batch` that the tape can hold at `now` (ns): judged as a whole, and only if that fails row by row.

    Raises ValueError for a side that there is not.
    """
    trades = batch.trades()
    times = unpack(batch.time)
    if (
        min(times) >= EARLIEST
        and max(times) <= now + DAY
        and are_positive_decimal_lines(batch.price)
        and are_positive_decimal_lines(batch.quantity)
    ):
        return trades
    return [
        trade
        for trade in trades
        if EARLIEST <= trade.time <= now + DAY
        and is_positive_decimal(trade.price)
        and is_positive_decimal(trade.quantity)
    ]
