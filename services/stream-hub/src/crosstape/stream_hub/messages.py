"""Every message about the market, as docs/websocket.md describes it: values in, a builder for any notation out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from crosstape.common.market.bar import Bar
from crosstape.common.market.decimals import decimal_text
from crosstape.common.market.order import OrderEvent
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.stream_hub.book_view import Level, Sides, Venue
from crosstape.stream_hub.encoding import Build, Message, Notation
from crosstape.stream_hub.numbers import canonical, exact_sum

SIDES = {TakerSide.BUY: "buy", TakerSide.SELL: "sell", TakerSide.UNKNOWN: "unknown"}


def volume_delta(trade: Trade) -> str:
    """What the trade adds to volume delta."""
    if not trade.side:
        return "0"
    quantity = canonical(trade.quantity)
    return quantity if trade.side > 0 else f"-{quantity}"


def _trade(notation: Notation, trade: Trade) -> Message:
    return {
        "exchange": trade.exchange,
        "symbol": trade.symbol,
        "trade_id": trade.trade_id,
        "timestamp": notation.seconds(trade.time),
        "price": notation.number(canonical(trade.price)),
        "quantity": notation.number(canonical(trade.quantity)),
        "side": SIDES[trade.side],
    }


def _sum(notation: Notation, value: Decimal | None) -> Any:
    return None if value is None else notation.number(decimal_text(value))


def tick(trade: Trade, cvd: Decimal | None, offset: int) -> Build:
    """A trade of /ws/v1/cvd."""
    return lambda notation: {
        "type": "tick",
        **_trade(notation, trade),
        "volume_delta": notation.number(volume_delta(trade)),
        "cvd": _sum(notation, cvd),
        "offset": offset,
    }


def trade(channel: str, trade: Trade, offset: int | None) -> Build:
    """A trade of a channel; one that is replayed from history has no position."""
    return lambda notation: {"type": "trade", "channel": channel, "offset": offset, **_trade(notation, trade)}


def tape_trade(
    channel: str, trade: Trade, offset: str | None, cvds: Mapping[str, Decimal | None], *, is_late: bool
) -> Build:
    """A trade of the consolidated tape, with the volume delta of the day so far by exchange and in all."""
    known = [value for value in cvds.values() if value is not None]

    def build(notation: Notation) -> Message:
        return {
            "type": "trade",
            "channel": channel,
            "offset": offset,
            **_trade(notation, trade),
            "cvd": {exchange: _sum(notation, value) for exchange, value in cvds.items()},
            "cvd_total": _sum(notation, exact_sum(known)),
            "late": is_late,
        }

    return build


def bar_body(notation: Notation, bar: Bar) -> Message:
    """A bar as REST answers it."""
    number = notation.number
    return {
        "timestamp": bar.open_time,
        "open": number(canonical(bar.open)),
        "high": number(canonical(bar.high)),
        "low": number(canonical(bar.low)),
        "close": number(canonical(bar.close)),
        "volume": number(canonical(bar.volume)),
        "volume_delta": number(canonical(bar.volume_delta)),
        "trades": bar.trades,
        "status": bar.status.value,
        "revision": bar.revision,
        "volume_unknown": number(canonical(bar.volume_unknown)),
    }


def bar(kind: str, channel: str, bar: Bar, offset: int | None) -> Build:
    """`bar_close` or `bar_revision`."""

    def build(notation: Notation) -> Message:
        message = {
            "type": kind,
            "channel": channel,
            "offset": offset,
            "exchange": bar.exchange,
            "symbol": bar.symbol,
            "interval": bar.interval,
            "bar": bar_body(notation, bar),
        }
        return message | ({"revision": bar.revision} if kind == "bar_revision" else {})

    return build


def cvd_snapshot(market: Mapping[str, Any], cvd: Decimal | None, bar: Bar | None, place: Mapping[str, Any]) -> Build:
    """The first message of /ws/v1/cvd: everything up to its offset; the ticks go on behind it."""
    return lambda notation: {
        "type": "snapshot",
        **market,
        "cvd": _sum(notation, cvd),
        "bar": None if bar is None else bar_body(notation, bar),
        **place,
    }


def book_body(notation: Notation, sides: Sides) -> Message:
    """Levels, whether they cross, and the checksum over their texts."""

    def levels(side: Sequence[Level]) -> list[list[Any]]:
        number = notation.number
        return [[number(level[0]), number(level[1]), *level[2:]] for level in side]

    return {"bids": levels(sides.bids), "asks": levels(sides.asks), "checksum": sides.checksum}


def book(head: Mapping[str, Any], sides: Sides, time: int, sequence: int) -> Build:
    """The newest state of one exchange's book."""
    return lambda notation: {
        "type": "book",
        **head,
        **book_body(notation, sides),
        "timestamp": notation.seconds(time),
        "sequence": sequence,
        "offset": sequence,
    }


def venue_bodies(venues: Sequence[Venue]) -> tuple[list[Message], list[Message]]:
    """The exchanges that are in a consolidated book, and those that are left out and why."""
    live: list[Message] = [
        {
            "exchange": venue.exchange,
            "symbol": venue.symbol,
            **({"quote_alias": venue.quote_alias} if venue.quote_alias else {}),
            "age_ms": round(venue.age * 1000),
            "sequence": venue.sequence,
        }
        for venue in venues
        if venue.reason is None
    ]
    stale: list[Message] = [
        {"exchange": venue.exchange, "symbol": venue.symbol, "reason": venue.reason, "age_ms": round(venue.age * 1000)}
        for venue in venues
        if venue.reason is not None
    ]
    return live, stale


def consolidated_book(head: Mapping[str, Any], sides: Sides, venues: Sequence[Venue], time: int) -> Build:
    """The newest state over all exchanges."""
    live, stale = venue_bodies(venues)
    sequence = sum(venue.sequence for venue in venues)
    return lambda notation: {
        "type": "book",
        **head,
        **book_body(notation, sides),
        "timestamp": notation.seconds(time),
        "sequence": sequence,
        "offset": sequence,
        "crossed": sides.is_crossed,
        "venues": live,
        "stale": stale,
    }


def book_stale(head: Mapping[str, Any], reason: str) -> Build:
    """There is no right book to show until the next `book` message."""
    return lambda notation: {"type": "book_stale", **head, "reason": reason}


def order(event: OrderEvent, offset: int) -> Build:
    """An event of one of the client's own orders."""
    optional = {"exchange": event.exchange, "symbol": event.symbol, "side": event.side, "reason": event.reason}
    numbers = {"price": event.price, "quantity": event.quantity, "filled_quantity": event.filled_quantity}
    return lambda notation: {
        "type": "order",
        "channel": "orders",
        "offset": offset,
        "event": event.kind.value,
        "order_id": event.order_id,
        "username": event.username,
        "number": event.number,
        "timestamp": notation.seconds(event.time),
        **{name: value for name, value in optional.items() if value},
        **{name: notation.number(canonical(value)) for name, value in numbers.items() if value},
    }
