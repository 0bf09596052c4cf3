"""The tape and the market's headline numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from crosstape.client import Bar
from crosstape.client.cvd import CvdTick
from crosstape.client.times import utc
from crosstape.dashboard.book_view import Spread
from crosstape.dashboard.market import MarketState
from crosstape.dashboard.markup import table, tag, text
from crosstape.dashboard.words import clock, compact, places_of, plain

TAPE_ROWS = 30


def tape(trades: Sequence[CvdTick]) -> str:
    """Trades, newest first; the side is the taker's."""
    shown = trades[:TAPE_ROWS]
    places = places_of(*(trade.price for trade in shown))
    rows = (
        tag(
            "tr",
            text("td", clock(utc(trade.timestamp))),
            text("td", f"{plain(trade.price, places)} {_ARROW[trade.side]}", css=f"ct-{trade.side}"),
            text("td", compact(trade.quantity)),
        )
        for trade in shown
    )
    return table(("Time (UTC)", "Price", "Quantity"), rows, "ct-tape")


_ARROW = {"buy": "▲", "sell": "▼", "unknown": "·"}


def headline(state: MarketState, day: Bar | None, gap: Spread | None) -> str:
    """Last price, its change since the day's open, spread, the day's volume and CVD; `day` is the bar of today."""
    bars = state.bars
    last = bars[-1].close if bars else None
    change = (last - day.open) / day.open * 100 if day and last is not None and day.open else None
    places = places_of(*(bar.close for bar in bars[-20:]))
    mood = "" if change is None else "ct-buy" if change >= 0 else "ct-sell"
    figures = [
        ("Last", plain(last, places), ""),
        ("Today", "–" if change is None else f"{plain(change, 2, signed=True)} %", mood),
        ("Spread", "–", "") if gap is None else (f"Spread ({gap.of})", f"{plain(gap.bps, 2)} bps", ""),
        ("Volume today", compact(day.volume if day else None), ""),
        ("CVD", plain(state.cvd, 2, signed=True), "" if not state.cvd else "ct-buy" if state.cvd > 0 else "ct-sell"),
    ]
    cells = (tag("div", text("dt", name), text("dd", value, css=css)) for name, value, css in figures)
    return tag("dl", *cells, css="ct-figures")
