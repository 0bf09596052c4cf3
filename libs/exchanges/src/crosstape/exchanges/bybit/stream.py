"""Bybit's sockets, version 5: what to subscribe and how to read a frame.

Spot and linear perpetuals have their own paths and share symbol names. Trade ids are UUIDs (linear) or numbers that
leave holes (spot): a lost trade cannot be seen in them.
Sources, read 2026-11-24: bybit-exchange.github.io/docs/v5/websocket/public (`trade`, `orderbook`) and
.../v5/ws/connect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade, trade_id
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, MalformedFrame, Subscription
from crosstape.exchanges.frames import WRONG, Id, Milliseconds, TextId, malformed
from crosstape.exchanges.sockets import per_socket, symbols_by_spelling
from crosstape.exchanges.times import MILLISECOND

_INSTRUMENTS_PER_SOCKET = 100
_TOPICS_PER_MESSAGE = 10
"""What spot allows."""

_TOPICS = {Channel.TRADES: "publicTrade", Channel.BOOK: "orderbook.200"}
_PATHS = {Kind.SPOT: "/v5/public/spot", Kind.PERPETUAL: "/v5/public/linear"}
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL


class _Trade(Struct, gc=False):
    """Topic `publicTrade.<symbol>`: `S` is the taker's side."""

    T: Milliseconds
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: TextId


class _Book(Struct, gc=False):
    """Topic `orderbook.200.<symbol>`: a quantity of 0 removes the level; `u` grows by one an update."""

    s: str
    b: list[Level]
    a: list[Level]
    u: Id


class _Frame(Struct, gc=False):
    """A push (`topic`), or the answer to a request (`op`): refused where `success` is false."""

    topic: str = ""
    type: Literal["snapshot", "delta"] = "snapshot"
    ts: Milliseconds = 0
    data: list[_Trade] | _Book | None = None
    op: str = ""
    success: bool = True
    ret_msg: str = ""


_decode_frame = msgspec.json.Decoder(_Frame).decode


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of one kind of instrument each."""
    return [
        _subscription(kind, group, channels)
        for kind in Kind
        for group in per_socket([i for i in instruments if i.kind is kind], _INSTRUMENTS_PER_SOCKET)
    ]


def _subscription(kind: Kind, instruments: tuple[Instrument, ...], channels: frozenset[Channel]) -> Subscription:
    topics = [f"{_TOPICS[c]}.{i.stream_spelling}" for c in sorted(channels) for i in instruments]
    messages = tuple(
        msgspec.json.encode({"op": "subscribe", "args": topics[i : i + _TOPICS_PER_MESSAGE]})
        for i in range(0, len(topics), _TOPICS_PER_MESSAGE)
    )
    decode = _decoder(symbols_by_spelling(instruments))
    ping = b'{"op":"ping"}'
    return Subscription(f"{kind}.stream", _PATHS[kind], messages, instruments, channels, decode, ping=ping)


def _decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of one socket's frames. A frame with one wrong trade is wrong as a whole."""

    def decode(frame: bytes | bytearray | memoryview, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_frame(frame)
            data = raw.data
            if type(data) is list:
                return [
                    Trade(
                        "bybit",
                        symbols[one.s],
                        trade_id(one.i),
                        one.T * MILLISECOND,
                        one.p,
                        one.v,
                        _BUY if one.S == "Buy" else _SELL,
                        time_received,
                    )
                    for one in data
                ]
            if type(data) is _Book:
                return (_update(raw, data, symbols[data.s], time_received),)
        except WRONG as error:
            raise malformed(error) from error
        if not raw.success:
            raise FeedError(f"bybit: {raw.ret_msg}")
        if not raw.op:
            raise MalformedFrame("schema", "neither data nor an answer")
        return ()

    return decode


def _update(raw: _Frame, book: _Book, symbol: str, time_received: int) -> BookUpdate:
    return BookUpdate(
        "bybit",
        symbol,
        raw.type == "snapshot",
        book.b,
        book.a,
        raw.ts * MILLISECOND,
        time_received,
        last_id=book.u,
    )
