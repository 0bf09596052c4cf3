"""Kraken's socket, version 1, as recorded in 2021: data frames are arrays, numbers are text, trades have no id.

A trade's id here is its time and place in the frame: enough to tell recorded trades apart, not to join other sources.
Sources, read 2026-11-24: docs.kraken.com/exchange/api-reference/spot-websocket-v1 (`book`, `trade`) and
docs.kraken.com/exchange/guides/websockets/book-checksum-v1, which version 2 shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Event, FeedError, MalformedFrame
from crosstape.exchanges.frames import WRONG, malformed
from crosstape.exchanges.times import decimal_seconds

DEPTH = 1_000
"""Levels a side the recordings subscribed to."""

_USUAL_NAMES = {"XBT": "BTC", "XDG": "DOGE"}


class _Change(Struct):
    """`as` and `bs` are a snapshot; `a` and `b` an update, of which the last part carries the checksum `c`.

    A level is price, volume and time (s); a fourth text says that it is sent again.
    """

    all_asks: list[list[str]] | None = msgspec.field(name="as", default=None)
    all_bids: list[list[str]] | None = msgspec.field(name="bs", default=None)
    asks: list[list[str]] = msgspec.field(name="a", default_factory=list)
    bids: list[list[str]] = msgspec.field(name="b", default_factory=list)
    c: str | None = None


class _Notice(Struct):
    """`heartbeat`, `systemStatus`, `subscriptionStatus`."""

    event: str
    errorMessage: str = ""  # noqa: N815


_Part = int | str | _Change | list[tuple[str, str, str, str, str, str]]
"""A trade is price, volume, time (s), side of the taker, order type, misc."""

_decode_frame = msgspec.json.Decoder(list[_Part] | _Notice).decode


def decode(frame: bytes, time_received: int) -> Sequence[Event]:
    """What a frame of version 1 says. Raises MalformedFrame, FeedError."""
    try:
        raw = _decode_frame(frame)
        if isinstance(raw, list):
            return _events(raw, time_received)
    except WRONG as error:
        raise malformed(error) from error
    if raw.errorMessage:
        raise FeedError(f"kraken: {raw.errorMessage}")
    return ()


def _events(raw: list[_Part], time_received: int) -> Sequence[Event]:
    *_, channel, pair = raw
    if not isinstance(channel, str) or not isinstance(pair, str):
        raise MalformedFrame("schema", "a data frame ends in channel and pair")
    symbol = "-".join(_USUAL_NAMES.get(name, name) for name in pair.split("/"))
    if channel == "trade":
        return [
            _trade(row, place, symbol, time_received)
            for part in raw
            if isinstance(part, list)
            for place, row in enumerate(part)
        ]
    if channel.startswith("book-"):
        return [_update([part for part in raw if isinstance(part, _Change)], symbol, time_received)]
    raise MalformedFrame("schema", f"unknown channel {channel[:40]}")


def _trade(row: tuple[str, ...], place: int, symbol: str, time_received: int) -> Trade:
    price, volume, time, side, *_ = row
    taker = TakerSide.BUY if side == "b" else TakerSide.SELL
    return Trade("kraken", symbol, f"{time}-{place}", decimal_seconds(time), price, volume, taker, time_received)


def _update(parts: list[_Change], symbol: str, time_received: int) -> BookUpdate:
    is_snapshot = any(part.all_asks is not None for part in parts)
    asks = [row for part in parts for row in (part.all_asks or part.asks)]
    bids = [row for part in parts for row in (part.all_bids or part.bids)]
    checksum = next((int(part.c) for part in parts if part.c is not None), None)
    time = max((decimal_seconds(row[2]) for row in (*asks, *bids)), default=time_received)
    return BookUpdate(
        "kraken", symbol, is_snapshot, _levels(bids), _levels(asks), time, time_received, checksum=checksum
    )


def _levels(rows: list[list[str]]) -> list[Level]:
    return [(row[0], row[1]) for row in rows]
