"""A book as a trader reads it: the ladder with cumulated depth, the spread, the depth chart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from crosstape.client import Book, ConsolidatedBook, ExchangeLevel, Level
from crosstape.dashboard.markup import tag, text
from crosstape.dashboard.trading import BookState
from crosstape.dashboard.words import compact, places_of, plain, span

LADDER_ROWS = 12
STALE_SECONDS = 8.0
"""A book of which nothing was heard for so long is shown as stale: live ones speak twice a second or when they move."""


@dataclass(frozen=True, slots=True)
class Row:
    """A price, what is there, what is there up to it, and which part of the deepest side that is (0 to 1)."""

    price: Decimal
    quantity: Decimal
    total: Decimal
    share: float
    exchange: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """The best prices in the book of `of`, an exchange or all exchanges; `points` is ask minus bid, `bps` the same in
    basis points of the middle."""

    bid: Decimal
    ask: Decimal
    points: Decimal
    bps: Decimal
    of: str

    @property
    def name(self) -> str:
        """Crossed: a bid of one exchange meets the ask of another."""
        return "crossed" if self.points < 0 else "spread"


def sides(book: Book | ConsolidatedBook, rows: int = LADDER_ROWS) -> tuple[list[Row], list[Row]]:
    """The best `rows` bids and asks, best first, with totals that share one scale."""
    bids, asks = book.bids[:rows], book.asks[:rows]
    deepest = max(sum((level.quantity for level in side), Decimal(0)) for side in (bids, asks)) or Decimal(1)
    return _rows(bids, deepest), _rows(asks, deepest)


def spread(book: Book | ConsolidatedBook) -> Spread | None:
    """None while a side is empty. Negative when the book is crossed."""
    if not book.bids or not book.asks:
        return None
    bid, ask = book.bids[0].price, book.asks[0].price
    of = "all exchanges" if isinstance(book, ConsolidatedBook) else book.exchange
    return Spread(bid, ask, ask - bid, (ask - bid) / ((ask + bid) / 2) * 10_000, of)


def notice(state: BookState, now: float) -> str:
    """What is wrong with what is shown, as a sentence; empty when nothing is. `now` is on the monotonic clock."""
    book = state.book
    if book is None:
        return f"There is no right book at the moment: {state.reason}." if state.reason else ""
    if state.link.state == "disconnected":
        return "Not connected: this is the last book that came."
    if now - state.received > STALE_SECONDS:
        return f"Nothing was heard of this book for {span(now - state.received)}."
    if isinstance(book, ConsolidatedBook) and book.stale:
        left_out = ", ".join(f"{venue.exchange} ({venue.reason})" for venue in book.stale)
        return f"Left out, as their books are not right now: {left_out}."
    return ""


def ladder(book: Book | ConsolidatedBook) -> str:
    """Asks above, the spread, bids below; each row with its depth behind it."""
    bids, asks = sides(book)
    places = places_of(*(row.price for row in (*bids, *asks)))
    gap = spread(book)
    middle = (
        tag(
            "div",
            text("b", plain((gap.bid + gap.ask) / 2, places)),
            text("span", f"{gap.name} {plain(gap.points, places)} · {plain(gap.bps, 2)} bps", css=f"ct-{gap.name}"),
            css="ct-mid",
        )
        if gap
        else text("div", "one side is empty", css="ct-mid")
    )
    head = tag("div", text("span", "Price"), text("span", "Quantity"), text("span", "Total"), text("span", "Exchange"))
    return tag(
        "div",
        tag("div", head, css="ct-head"),
        *(_line(row, places, "ask") for row in reversed(asks)),
        middle,
        *(_line(row, places, "bid") for row in bids),
        css="ct-book",
    )


def depth_chart(book: Book | ConsolidatedBook) -> str:
    """Cumulated quantity over price, bids to the left: two boxes cut to the shape of their side."""
    bids, asks = sides(book, rows=max(len(book.bids), len(book.asks)))
    if not bids or not asks:
        return text("div", "Depth needs both sides of the book.", css="ct-empty")
    low, high = min(bids[-1].price, asks[0].price), max(asks[-1].price, bids[0].price)  # a crossed book's sides overlap
    most = max(bids[-1].total, asks[-1].total)
    places = places_of(low, high)
    told = f"{compact(bids[-1].total)} bid · {compact(asks[-1].total)} ask"
    return tag(
        "figure",
        tag(
            "div",
            tag("div", css="ct-bids", style=f"clip-path:polygon({_outline(bids, low, high, most)})"),
            tag("div", css="ct-asks", style=f"clip-path:polygon({_outline(asks, low, high, most)})"),
            css="ct-depths",
            role="img",
            aria_label=f"Depth of the book from {plain(low, places)} to {plain(high, places)}: {told}",
        ),
        tag("figcaption", text("span", plain(low, places)), text("span", told), text("span", plain(high, places))),
        css="ct-depth",
    )


def _outline(rows: Sequence[Row], low: Decimal, high: Decimal, most: Decimal) -> str:
    """The steps of one side, from its best price outwards, in per cent of the picture; y counts from the top."""
    breadth = (high - low) or Decimal(1)
    points, y = [], 100.0
    for row in rows:
        x = float((row.price - low) / breadth) * 100
        points.append(f"{x:.2f}% {y:.2f}%")
        y = 100 - 94 * float(row.total / most)
        points.append(f"{x:.2f}% {y:.2f}%")
    return ",".join((*points, f"{points[-1].split()[0]} 100%"))


def venues(book: Book | ConsolidatedBook) -> str:
    """Which exchanges are in it, and the quote each stands in with."""
    if isinstance(book, Book):
        return text("p", f"{book.exchange} {book.symbol}, sequence {book.sequence}", css="ct-note")
    named = [f"{v.exchange} {v.symbol}" for v in book.venues]
    return text("p", f"{len(named)} exchanges: {', '.join(named)}", css="ct-note")


def _rows(levels: Sequence[Level | ExchangeLevel], deepest: Decimal) -> list[Row]:
    totals = accumulate(level.quantity for level in levels)
    return [
        Row(
            level.price,
            level.quantity,
            total,
            float(total / deepest),
            level.exchange if isinstance(level, ExchangeLevel) else "",
        )
        for level, total in zip(levels, totals, strict=True)
    ]


def _line(row: Row, places: int, side: str) -> str:
    return tag(
        "div",
        text("span", plain(row.price, places)),
        text("span", compact(row.quantity)),
        text("span", compact(row.total)),
        text("span", row.exchange),
        css=f"ct-level ct-{side}",
        style=f"--share:{row.share * 100:.1f}%",
    )
