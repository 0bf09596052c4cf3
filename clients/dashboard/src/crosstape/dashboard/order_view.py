"""TWAP orders: reading the ticket, what it will do, and how an order goes. Pure."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal

from crosstape.client import ApiError, CrosstapeError, Order, OrderAccepted, TwapOrder
from crosstape.client.orders import Side
from crosstape.dashboard.book_view import Spread
from crosstape.dashboard.markup import tag, text
from crosstape.dashboard.words import compact, places_of, plain, sentence, span

ALL_EXCHANGES = "All exchanges"
_MARGIN = Decimal("0.001")
_NUMBER = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+", re.ASCII)
"""Without an exponent, a sign or an underscore: 1e5 is hardly what somebody means to type on a ticket."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is written on the ticket; quantity and price as they were typed, so that no digit changes."""

    symbol: str
    exchange: str
    side: Side
    quantity: str
    limit_price: str
    duration: int
    interval: int

    def problems(self) -> list[str]:
        """What has to be mended before it can be sent."""
        found = []
        for name, typed in (("Quantity", self.quantity), ("Limit price", self.limit_price)):
            if "," in typed:
                found.append(f"{name}: write a point for decimals and no commas, such as 1250.75.")
            elif number(typed) is None:
                found.append(f"{name}: write a positive number, such as 0.25.")
        if self.interval > self.duration:
            found.append("The time between slices cannot be longer than the whole order.")
        return found

    def order(self, order_id: str) -> TwapOrder:
        """The order, under this id. Raises ValueError when there are problems."""
        quantity, limit_price = number(self.quantity), number(self.limit_price)
        if quantity is None or limit_price is None or self.problems():
            raise ValueError(" ".join(self.problems()))
        return TwapOrder(
            symbol=self.symbol,
            side=self.side,
            total_quantity=quantity,
            limit_price=limit_price,
            duration=self.duration,
            interval=self.interval,
            exchange=None if self.exchange == ALL_EXCHANGES else self.exchange,
            order_id=order_id,
        )

    def summary(self) -> str:
        """What it will do, in one sentence."""
        quantity, limit_price = number(self.quantity), number(self.limit_price)
        if quantity is None or limit_price is None or self.problems():
            return "The order is cut into equal slices, one at each step, and never trades beyond the limit price."
        slices = self.duration // self.interval + 1
        bound = "at most" if self.side == "buy" else "at least"
        return (
            f"{slices} slices of about {compact(quantity / slices)}, one every {span(self.interval)}, over "
            f"{span(self.duration)}; {bound} {plain(limit_price)} each, {compact(quantity * limit_price)} in all."
        )


@dataclass(frozen=True, slots=True)
class Submission:
    """A ticket that is sent, and the id that its order has until it is accepted: sent again it is still one order."""

    ticket: Ticket
    order_id: str


def submission(ticket: Ticket, before: Submission | None, new_id: str) -> Submission:
    """`before`, which was not accepted, where the ticket is still the same; else one under `new_id`."""
    return before if before and before.ticket == ticket else Submission(ticket, new_id)


def not_accepted(error: CrosstapeError) -> str:
    """What is told of a submission that failed: whether there may be an order, and what to do."""
    if isinstance(error, ApiError) and error.status < 500:
        return sentence(error)
    return (
        "No answer came, so the order may have been accepted: then it appears below. "
        "Sending the same ticket again never makes a second order."
    )


def remarks(accepted: OrderAccepted) -> list[str]:
    """What is to be told of an order that was accepted: what is probably not meant, and where its limit price counts in
    another currency than the one asked for."""
    aliases = accepted.quote_aliases
    exchanges = {
        quote: ", ".join(exchange for exchange in aliases if aliases[exchange] == quote) for quote in aliases.values()
    }
    return [*accepted.warnings, *(f"On {names} the limit price is in {quote}." for quote, names in exchanges.items())]


def number(typed: str) -> Decimal | None:
    """A positive number as it was typed (thousands separated by spaces are fine); None for anything else.

    A comma is anything else: it is a decimal mark to one reader and separates thousands to the other.
    """
    digits = typed.replace(" ", "")
    value = Decimal(digits) if _NUMBER.fullmatch(digits) else Decimal()
    return value if value > 0 else None


def marketable(side: Side, gap: Spread) -> Decimal:
    """A limit price that trades at once and leaves room for 0.1 % of movement, in the book's own places."""
    best, factor = (gap.ask, 1 + _MARGIN) if side == "buy" else (gap.bid, 1 - _MARGIN)
    return round(best * factor, places_of(gap.bid, gap.ask))


def filled_share(order: Order) -> float:
    """How much of it is filled, 0 to 1."""
    return float(min(Decimal(1), (order.filled_quantity or Decimal(0)) / order.total_quantity))


def time_share(order: Order, now: dt.datetime) -> float:
    """How much of its time is over, 0 to 1. `now` is UTC without a zone, as the order's times are."""
    if order.status != "open" or order.created_at is None:
        return 1.0
    return min(1.0, max(0.0, (now - order.created_at).total_seconds() / order.duration))


def card(order: Order, now: dt.datetime) -> str:
    """An order with its progress, its average price, what that is worth against the market's own TWAP and VWAP, and why
    slices got too little."""
    filled, elapsed = filled_share(order), time_share(order, now)
    status = order.close_reason or order.status
    fills = len(order.executions) + order.executions_left_out
    places = places_of(order.limit_price, *(execution.price for execution in order.executions[:20]))
    left = "" if order.status != "open" else f"{span(order.duration * (1 - elapsed))} left"
    figures = [
        ("Filled", f"{compact(order.filled_quantity or Decimal(0))} / {compact(order.total_quantity)}"),
        ("Average", plain(order.average_price, places)),
        ("Limit", plain(order.limit_price, places)),
        ("Market TWAP", plain(order.benchmark.twap, places)),
        ("Slippage", _bps(order.slippage_bps.twap)),
        ("Fees", compact(order.fees)),
        ("Fills", str(fills)),
    ]
    return tag(
        "article",
        tag(
            "header",
            text("b", f"{order.side.upper()} {order.symbol}", css=f"ct-{order.side}"),
            text("span", order.exchange or "all exchanges"),
            text("span", status, css=f"ct-status ct-{status}"),
            text("time", left or (f"{order.created_at:%Y-%m-%d %H:%M:%S} UTC" if order.created_at else "")),
        ),
        tag(
            "div",
            tag("i", style=f"width:{filled * 100:.1f}%"),
            tag("u", style=f"left:{elapsed * 100:.1f}%"),
            css="ct-progress",
            role="progressbar",
            aria_valuenow=f"{filled * 100:.0f}",
            aria_valuemin="0",
            aria_valuemax="100",
            aria_label="filled, in per cent; the mark is the time that has passed",
        ),
        tag("dl", *(tag("div", text("dt", name), text("dd", value)) for name, value in figures), css="ct-results"),
        *(text("p", notice, css="ct-notice") for notice in (*order.warnings, *_shortfalls(order))),
        css="ct-order",
        data_order=order.order_id,
        data_filled=f"{filled:.4f}",
        data_fills=str(fills),
        data_status=status,
    )


def _shortfalls(order: Order) -> list[str]:
    short = order.progress.slices_short if order.progress else {}
    return [f"Slices that got too little: {count}, {reason.replace('_', ' ')}." for reason, count in short.items()]


def _bps(value: Decimal | None) -> str:
    return "–" if value is None else f"{plain(value, 2, signed=True)} bps"
