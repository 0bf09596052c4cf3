"""Kraken's socket, version 2: what to subscribe and how to read a frame.

Prices and quantities are JSON numbers with full precision, on which the book's checksum depends: they stay text.
Sources, read 2026-11-24: docs.kraken.com/exchange/api-reference/spot-websocket-v2 (`trade`, `book`, `heartbeat`,
`status`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, MalformedFrame, Subscription
from crosstape.exchanges.digits import number_text
from crosstape.exchanges.frames import WRONG, Id, malformed
from crosstape.exchanges.sockets import per_socket, symbols_by_spelling
from crosstape.exchanges.times import iso

DEPTH = 1_000
"""Levels a side that the socket keeps: one of 10, 25, 100, 500, 1000."""

_INSTRUMENTS_PER_SOCKET = 100

_BUY, _SELL = TakerSide.BUY, TakerSide.SELL


class _Trade(Struct, gc=False):
    """`.../trade`: `side` is the taker's, `trade_id` counts the market's trades."""

    symbol: str
    side: Literal["buy", "sell"]
    price: msgspec.Raw
    qty: msgspec.Raw
    trade_id: Id
    timestamp: str


class _Level(Struct, gc=False):
    price: msgspec.Raw
    qty: msgspec.Raw


class _Book(Struct, gc=False):
    """`.../book`: a quantity of 0 removes the level."""

    symbol: str
    bids: list[_Level]
    asks: list[_Level]
    checksum: int
    timestamp: str = ""


class _Trades(Struct, tag_field="channel", tag="trade", gc=False):
    data: list[_Trade]


class _Books(Struct, tag_field="channel", tag="book", gc=False):
    type: Literal["snapshot", "update"]
    data: list[_Book]


class _Heartbeat(Struct, tag_field="channel", tag="heartbeat"):
    """Once a second in the absence of other messages."""


class _Status(Struct, tag_field="channel", tag="status"):
    """The state of the trading engine, when it connects and when it changes."""


class _Reply(Struct):
    """What answers a request. A refused subscription has `success` false and says why."""

    method: str = ""
    success: bool | None = None
    error: str | None = None


_decode_frame = msgspec.json.Decoder(_Trades | _Books | _Heartbeat | _Status).decode
_reply = msgspec.json.Decoder(_Reply)


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of at most a hundred markets. Past trades are not asked for: the tape's repair is by REST alone."""
    return [_subscription(group, channels) for group in per_socket(instruments, _INSTRUMENTS_PER_SOCKET)]


def _subscription(instruments: tuple[Instrument, ...], channels: frozenset[Channel]) -> Subscription:
    symbols = [i.stream_spelling for i in instruments]
    params = {
        Channel.TRADES: {"channel": "trade", "symbol": symbols, "snapshot": False},
        Channel.BOOK: {"channel": "book", "symbol": symbols, "depth": DEPTH, "snapshot": True},
    }
    messages = tuple(msgspec.json.encode({"method": "subscribe", "params": params[c]}) for c in sorted(channels))
    decode = _decoder(symbols_by_spelling(instruments))
    return Subscription("stream", "/v2", messages, instruments, channels, decode, stall_after=10.0)


def _decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of one socket's frames. A frame with one wrong trade or level is wrong as a whole."""

    def decode(frame: bytes | bytearray | memoryview, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_frame(frame)
            if type(raw) is _Trades:
                return [
                    Trade(
                        "kraken",
                        symbols[one.symbol],
                        one.trade_id,
                        iso(one.timestamp),
                        number_text(one.price),
                        number_text(one.qty),
                        _BUY if one.side == "buy" else _SELL,
                        time_received,
                    )
                    for one in raw.data
                ]
            if type(raw) is _Books:
                is_snapshot = raw.type == "snapshot"
                return [_update(one, symbols[one.symbol], is_snapshot, time_received) for one in raw.data]
        except WRONG as error:
            _check_reply(frame, malformed(error))
        return ()

    return decode


def _check_reply(frame: bytes | bytearray | memoryview, error: MalformedFrame) -> None:
    """Pass an acknowledgement, raise FeedError for a refusal and `error` for anything else."""
    if error.kind != "schema":
        raise error
    try:
        reply = _reply.decode(frame)
    except WRONG:
        raise error from None
    if reply.success is False or reply.error is not None:
        raise FeedError(f"kraken: {reply.error}")
    if not reply.method:
        raise error


def _update(raw: _Book, symbol: str, is_snapshot: bool, time_received: int) -> BookUpdate:
    return BookUpdate(
        "kraken",
        symbol,
        is_snapshot,
        _levels(raw.bids),
        _levels(raw.asks),
        iso(raw.timestamp) if raw.timestamp else time_received,
        time_received,
        checksum=raw.checksum,
    )


def _levels(raw: list[_Level]) -> list[Level]:
    return [(number_text(level.price), number_text(level.qty)) for level in raw]
