"""The drawing: the table as seed 1 shows it, to the character, and the line of status below it. Pure.

A screen that is too narrow for the table shows fewer columns of it, and each of those whole: half a price misleads.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import zip_longest

from crosstape.client import ExchangeLevel
from crosstape.orderbook.view import View, places

NAME_WIDTH, NUMBER_WIDTH, LINE_WIDTH = 12, 10, 80
LINES_AROUND = 5
"""Title, header and the two rules, and the status."""

_BIDS = f"{'Bid Exch':<{NAME_WIDTH}}", f"{'Bid Qty':<{NUMBER_WIDTH}}", f"{'Bid Price':<{NUMBER_WIDTH}}"
_ASKS = f"{'Ask Price':<{NUMBER_WIDTH}}", f"{'Ask Qty':<{NUMBER_WIDTH}}", f"{'Ask Exch':<{NAME_WIDTH}}"
_NOTHING = ExchangeLevel(Decimal(0), Decimal(0), "")


def draw(view: View, depth: int | None = None, width: int = LINE_WIDTH) -> list[str]:
    """The lines of the table, with the best `depth` levels a side; the shorter side is padded. On less than its `width`
    (characters) there are no exchanges, and on still less no quantities."""
    bids, asks = view.bids[:depth], view.asks[:depth]
    decimals = places((*bids, *asks), NUMBER_WIDTH)
    columns = next((count for count in (3, 2) if len(_line(_BIDS, _ASKS, count)) <= width), 1)
    header = _line(_BIDS, _ASKS, columns)
    rows = [_row(bid, ask, decimals, columns) for bid, ask in zip_longest(bids, asks, fillvalue=_NOTHING)]
    rule = "-" * len(header)
    return [f"Aggregated Order Book for {view.symbol}", header, rule, *rows, rule]


def status(view: View, connection: str) -> str:
    """One line: the connection, whether the book is crossed, which exchanges are left out and why."""
    parts = [connection]
    if view.is_crossed:
        parts.append(f"CROSSED by {view.bids[0].price - view.asks[0].price:f}")
    if view.away:
        parts.append("without " + ", ".join(f"{exchange} ({reason})" for exchange, reason in view.away))
    return " | ".join(parts)


def _row(bid: ExchangeLevel, ask: ExchangeLevel, decimals: int, columns: int) -> str:
    return _line(_cells(bid, decimals), _cells(ask, decimals)[::-1], columns)


def _cells(level: ExchangeLevel, decimals: int) -> tuple[str, ...]:
    return (
        f"{level.exchange:<{NAME_WIDTH}}",
        f"{level.quantity:>{NUMBER_WIDTH}.2f}",
        f"{level.price:>{NUMBER_WIDTH}.{decimals}f}",
    )


def _line(bid: tuple[str, ...], ask: tuple[str, ...], columns: int) -> str:
    """The `columns` of each side that are nearest to the middle."""
    return f"{' | '.join(bid[-columns:])} || {' | '.join(ask[:columns])}"
