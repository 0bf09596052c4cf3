"""OKX's sockets, version 5: what to subscribe and how to read a frame.

Trades are `trades-all` (every fill), not `trades`, which joins fills of one taker under the last id. Books are `books`
(400 levels): the snapshot has `prevSeqId` -1, an update names the `seqId` before it. The checksum has been 0 since
2026-06-23 and then says nothing.
Sources, read 2026-11-24: www.okx.com/docs-v5/en ("All trades channel", "Order book channel", "Connect").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, MalformedFrame, Subscription
from crosstape.exchanges.frames import WRONG, Id, Milliseconds, malformed
from crosstape.exchanges.okx.contracts import base_quantity, contract_value
from crosstape.exchanges.sockets import per_socket
from crosstape.exchanges.times import MILLISECOND

_INSTRUMENTS_PER_SOCKET = 100
_PATHS = {Channel.TRADES: "/ws/v5/business", Channel.BOOK: "/ws/v5/public"}
_CHANNELS = {Channel.TRADES: "trades-all", Channel.BOOK: "books"}
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL
_UINT32 = 0xFFFF_FFFF

Market = tuple[str, Decimal | None]
"""Canonical symbol, and what a contract holds (None: quantities are in base)."""


class _Argument(Struct, rename="camel", frozen=True, gc=False):
    """What was subscribed."""

    inst_id: str = ""


class _Trade(Struct, rename="camel", gc=False):
    """ "All trades channel": `side` is the taker's, `ts` in ms."""

    trade_id: Id
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: Milliseconds


class _Book(Struct, rename="camel", gc=False):
    """ "Order book channel": levels are price, quantity, a deprecated 0 and the number of orders."""

    asks: list[tuple[str, str, str, str]]
    bids: list[tuple[str, str, str, str]]
    ts: Milliseconds
    checksum: int = 0
    seq_id: int | None = None
    prev_seq_id: int | None = None


class _Frame(Struct, gc=False):
    """What every frame may have: pushed data has `arg`, everything else an `event`."""

    arg: _Argument = _Argument()
    event: str = ""
    msg: str = ""


class _TradesFrame(_Frame, gc=False):
    data: list[_Trade] = []


class _BooksFrame(_Frame, gc=False):
    action: Literal["snapshot", "update"] = "update"
    data: list[_Book] = []


# Lax: ids and times come as text, and become integers in C.
_decode_trades = msgspec.json.Decoder(_TradesFrame, strict=False).decode
_decode_books = msgspec.json.Decoder(_BooksFrame, strict=False).decode


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of one channel each: trades and books have different addresses, and so one decoder a socket."""
    return [
        _subscription(group, channel)
        for channel in sorted(channels)
        for group in per_socket(instruments, _INSTRUMENTS_PER_SOCKET)
    ]


def _subscription(instruments: tuple[Instrument, ...], channel: Channel) -> Subscription:
    arguments = [{"channel": _CHANNELS[channel], "instId": i.stream_spelling} for i in instruments]
    markets = {i.stream_spelling: (i.symbol, contract_value(i)) for i in instruments}
    return Subscription(
        "stream",
        _PATHS[channel],
        (msgspec.json.encode({"op": "subscribe", "args": arguments}),),
        instruments,
        frozenset((channel,)),
        _trades_decoder(markets) if channel is Channel.TRADES else _books_decoder(markets),
        ping=b"ping",
    )


def _trades_decoder(markets: Mapping[str, Market]) -> Decode:
    """The reader of a socket of trades. A frame with one wrong trade is wrong as a whole."""

    def decode(frame: bytes | bytearray | memoryview, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_trades(frame)
            if raw.data:
                symbol, value = markets[raw.arg.inst_id]
                return [
                    Trade(
                        "okx",
                        symbol,
                        one.trade_id,
                        one.ts * MILLISECOND,
                        one.px,
                        one.sz if value is None else base_quantity(one.sz, value),
                        _BUY if one.side == "buy" else _SELL,
                        time_received,
                    )
                    for one in raw.data
                ]
        except WRONG as error:
            return _pong(frame, malformed(error))
        return _event(raw)

    return decode


def _books_decoder(markets: Mapping[str, Market]) -> Decode:
    """The reader of a socket of books. A frame with one wrong level is wrong as a whole."""

    def decode(frame: bytes | bytearray | memoryview, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_books(frame)
            if raw.data:
                market = markets[raw.arg.inst_id]
                is_snapshot = raw.action == "snapshot"
                return [_update(one, market, is_snapshot, time_received) for one in raw.data]
        except WRONG as error:
            return _pong(frame, malformed(error))
        return _event(raw)

    return decode


def _pong(frame: bytes | bytearray | memoryview, error: MalformedFrame) -> Sequence[Event]:
    """The answer to a ping is the bare word `pong`."""
    if frame == b"pong":
        return ()
    raise error


def _event(raw: _Frame) -> Sequence[Event]:
    """`subscribe` and `channel-conn-count` acknowledge; `error` refuses; `notice` says that the service closes."""
    if raw.event in ("error", "notice", "channel-conn-count-error"):
        raise FeedError(f"okx: {raw.event}: {raw.msg}")
    if not raw.event:
        raise MalformedFrame("schema", "neither data nor an event")
    return ()


def _update(raw: _Book, market: Market, is_snapshot: bool, time_received: int) -> BookUpdate:
    symbol, value = market
    return BookUpdate(
        "okx",
        symbol,
        is_snapshot,
        _levels(raw.bids, value),
        _levels(raw.asks, value),
        raw.ts * MILLISECOND,
        time_received,
        last_id=raw.seq_id,
        previous_id=raw.prev_seq_id,
        # It covers the exchange's own digits, which a quantity in base has not.
        checksum=raw.checksum & _UINT32 if raw.checksum and value is None else None,
    )


def _levels(raw: list[tuple[str, str, str, str]], value: Decimal | None) -> list[Level]:
    if value is None:
        return [(price, quantity) for price, quantity, _, _ in raw]
    return [(price, base_quantity(contracts, value)) for price, contracts, _, _ in raw]
