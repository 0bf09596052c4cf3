"""The drawing: the table as seed 1 shows it, to the character, and the line of status below it. Pure."""

from __future__ import annotations

from decimal import Decimal
from itertools import zip_longest

from crosstape.client import ExchangeLevel
from crosstape.orderbook.view import View, places

NAME_WIDTH, NUMBER_WIDTH, LINE_WIDTH = 12, 10, 80
LINES_AROUND = 5
"""Title, header and the two rules, and the status."""

_HEADER = " || ".join(
    (
        f"{'Bid Exch':<{NAME_WIDTH}} | {'Bid Qty':<{NUMBER_WIDTH}} | {'Bid Price':<{NUMBER_WIDTH}}",
        f"{'Ask Price':<{NUMBER_WIDTH}} | {'Ask Qty':<{NUMBER_WIDTH}} | {'Ask Exch':<{NAME_WIDTH}}",
    )
)
_RULE = "-" * LINE_WIDTH
_NOTHING = ExchangeLevel(Decimal(0), Decimal(0), "")


def draw(view: View, depth: int | None = None) -> list[str]:
    """The lines of the table, with the best `depth` levels a side; the shorter side is padded."""
    bids, asks = view.bids[:depth], view.asks[:depth]
    decimals = places((*bids, *asks), NUMBER_WIDTH)
    rows = [_row(bid, ask, decimals) for bid, ask in zip_longest(bids, asks, fillvalue=_NOTHING)]
    return [f"Aggregated Order Book for {view.symbol}", _HEADER, _RULE, *rows, _RULE]


def status(view: View, connection: str) -> str:
    """One line: the connection, whether the book is crossed, which exchanges are left out and why."""
    parts = [connection]
    if view.is_crossed:
        parts.append(f"CROSSED by {view.bids[0].price - view.asks[0].price:f}")
    if view.away:
        parts.append("without " + ", ".join(f"{exchange} ({reason})" for exchange, reason in view.away))
    return " | ".join(parts)


def _row(bid: ExchangeLevel, ask: ExchangeLevel, decimals: int) -> str:
    left = f"{bid.exchange:<{NAME_WIDTH}} | {bid.quantity:>{NUMBER_WIDTH}.2f} | {bid.price:>{NUMBER_WIDTH}.{decimals}f}"
    right = (
        f"{ask.price:>{NUMBER_WIDTH}.{decimals}f} | {ask.quantity:>{NUMBER_WIDTH}.2f} | {ask.exchange:<{NAME_WIDTH}}"
    )
    return f"{left} || {right}"
