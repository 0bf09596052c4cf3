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
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, Frame, MalformedFrame, Subscription
from crosstape.exchanges.frames import WRONG, Id, Milliseconds, malformed, notice_in
from crosstape.exchanges.okx.contracts import base_quantity, contract_value
from crosstape.exchanges.sockets import one_by_one, per_socket, refusal
from crosstape.exchanges.times import MILLISECOND

_INSTRUMENTS_PER_SOCKET = 100
_PATHS = {Channel.TRADES: "/ws/v5/business", Channel.BOOK: "/ws/v5/public"}
_CHANNELS = {Channel.TRADES: "trades-all", Channel.BOOK: "books"}
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL
_UINT32 = 0xFFFF_FFFF

Market = tuple[str, Decimal | None]
"""Canonical symbol, and what a contract holds (None: quantities are in base)."""


class _Argument(Struct, rename="camel", gc=False):
    """What was subscribed."""

    inst_id: str


class _Trade(Struct, rename="camel", gc=False):
    """ "All trades channel": `side` is the taker's, `ts` in ms."""

    trade_id: Id
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: Milliseconds


class _Level(Struct, array_like=True, gc=False):
    """What is used of a level; a deprecated 0 and the number of orders follow."""

    price: str
    quantity: str


class _Book(Struct, rename="camel", gc=False):
    """ "Order book channel"."""

    asks: list[_Level]
    bids: list[_Level]
    ts: Milliseconds
    checksum: int = 0
    seq_id: int | None = None
    prev_seq_id: int | None = None


class _TradesFrame(Struct, gc=False):
    arg: _Argument
    data: list[_Trade]


class _BooksFrame(Struct, gc=False):
    arg: _Argument
    data: list[_Book]
    action: Literal["snapshot", "update"] = "update"


class _Notice(Struct):
    """What is no push of data has an `event`."""

    event: str
    msg: str = ""


# Lax: ids and times come as text, and become integers in C.
_decode_trades = msgspec.json.Decoder(_TradesFrame, strict=False).decode
_decode_books = msgspec.json.Decoder(_BooksFrame, strict=False).decode
_decode_notice = msgspec.json.Decoder(_Notice).decode


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of one channel each: trades and books have different addresses, and so one decoder a socket."""
    return [
        _subscription(group, channel)
        for channel in sorted(channels)
        for group in per_socket(instruments, _INSTRUMENTS_PER_SOCKET)
    ]


def _subscription(instruments: tuple[Instrument, ...], channel: Channel) -> Subscription:
    arguments = ({"channel": _CHANNELS[channel], "instId": i.stream_spelling} for i in instruments)
    markets = {i.stream_spelling: (i.symbol, contract_value(i)) for i in instruments}
    return Subscription(
        "stream",
        _PATHS[channel],
        one_by_one({"op": "subscribe", "args": [argument]} for argument in arguments),
        instruments,
        frozenset((channel,)),
        _trades_decoder(markets) if channel is Channel.TRADES else _books_decoder(markets),
        ping=b"ping",
        stall_after=10.0,
    )


def _trades_decoder(markets: Mapping[str, Market]) -> Decode:
    """The reader of a socket of trades. A frame with one wrong trade is wrong as a whole."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_trades(frame)
            symbol, value = markets[raw.arg.inst_id]
            trades = []  # one trade is the rule, for which a comprehension costs more
            for one in raw.data:
                time, side = one.ts * MILLISECOND, _BUY if one.side == "buy" else _SELL
                quantity = one.sz if value is None else base_quantity(one.sz, value)
                trades.append(Trade("okx", symbol, one.trade_id, time, one.px, quantity, side, time_received))
            return trades
        except WRONG as error:
            return _nothing(frame, malformed(error), markets)

    return decode


def _books_decoder(markets: Mapping[str, Market]) -> Decode:
    """The reader of a socket of books. A frame with one wrong level is wrong as a whole."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_books(frame)
            market = markets[raw.arg.inst_id]
            is_snapshot = raw.action == "snapshot"
            return [_update(one, market, is_snapshot, time_received) for one in raw.data]
        except WRONG as error:
            return _nothing(frame, malformed(error), markets)

    return decode


def _nothing(frame: Frame, error: MalformedFrame, markets: Mapping[str, Market]) -> Sequence[Event]:
    """Pass what tells nothing of a market, raise what a refusal is, FeedError for what ends the stream and `error` for
    anything else.

    The answer to a ping is the bare word `pong`. `subscribe` and `channel-conn-count` acknowledge; `error` refuses;
    `notice` says that the service closes.
    """
    if frame == b"pong":
        return ()
    notice = notice_in(frame, _decode_notice, error)
    if notice.event == "error":
        raise refusal(f"okx: {notice.msg}", {spelling: symbol for spelling, (symbol, _) in markets.items()})
    if notice.event in ("notice", "channel-conn-count-error"):
        raise FeedError(f"okx: {notice.event}: {notice.msg}")
    return ()


def _update(raw: _Book, market: Market, is_snapshot: bool, time_received: int) -> BookUpdate:
    symbol, value = market
    bids, asks, time = _levels(raw.bids, value), _levels(raw.asks, value), raw.ts * MILLISECOND
    # It covers the exchange's own digits, which a quantity in base has not.
    checksum = raw.checksum & _UINT32 if raw.checksum and value is None else None
    last_id, previous_id = raw.seq_id, raw.prev_seq_id
    return BookUpdate("okx", symbol, is_snapshot, bids, asks, time, time_received, None, last_id, previous_id, checksum)


def _levels(raw: list[_Level], value: Decimal | None) -> list[Level]:
    levels = []  # few levels are the rule, for which a comprehension costs more
    for level in raw:
        quantity = level.quantity if value is None else base_quantity(level.quantity, value)
        levels.append((level.price, quantity))
    return levels
