"""Bybit's sockets, version 5: what to subscribe and how to read a frame.

Spot and linear perpetuals have their own paths and share symbol names. Trade ids are UUIDs (linear) or numbers that
leave holes (spot): a lost trade cannot be seen in them.
Sources, read 2026-11-24: bybit-exchange.github.io/docs/v5/websocket/public (`trade`, `orderbook`) and
.../v5/ws/connect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade, trade_id
from crosstape.exchanges.dialect import Channel, Decode, Event, Frame, MalformedFrame, Subscription
from crosstape.exchanges.frames import WRONG, Id, LongTextId, Milliseconds, TextId, malformed, notice_in
from crosstape.exchanges.sockets import one_by_one, per_socket, reader, refusal, symbols_by_spelling
from crosstape.exchanges.times import MILLISECOND

_INSTRUMENTS_PER_SOCKET = 100

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
    i: Id | TextId

    def __post_init__(self) -> None:
        self.i = trade_id(str(self.i))


class _NumberedTrade(Struct, gc=False):
    """One whose id is a number, as on spot; the fields in spot's order, which is found faster."""

    i: Id
    T: Milliseconds
    p: str
    v: str
    S: Literal["Buy", "Sell"]
    s: str


class _UuidTrade(Struct, gc=False):
    """One whose id is longer than any number, as on linear."""

    T: Milliseconds
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: LongTextId


class _Trades(Struct, gc=False):
    """A push of trades, whatever their ids are."""

    data: list[_Trade]


class _NumberedTrades(Struct, gc=False):
    data: list[_NumberedTrade]


class _UuidTrades(Struct, gc=False):
    data: list[_UuidTrade]


class _Book(Struct, gc=False):
    """Topic `orderbook.200.<symbol>`: a quantity of 0 removes the level; `u` grows by one an update."""

    s: str
    b: list[Level]
    a: list[Level]
    u: Id


class _BookFrame(Struct, gc=False):
    """A push of a book."""

    type: Literal["snapshot", "delta"]
    ts: Milliseconds
    data: _Book


class _Reply(Struct):
    """The answer to a request: refused where `success` is false."""

    op: str = ""
    success: bool = True
    ret_msg: str = ""


_DecodeTrades = Callable[[Frame], _Trades | _NumberedTrades | _UuidTrades]

_decode_trades = msgspec.json.Decoder(_Trades).decode
_DECODE_TRADES: Mapping[Kind, _DecodeTrades] = {
    Kind.SPOT: msgspec.json.Decoder(_NumberedTrades, strict=False).decode,  # lax: the text becomes an integer in C
    Kind.PERPETUAL: msgspec.json.Decoder(_UuidTrades).decode,
}
_decode_book = msgspec.json.Decoder(_BookFrame).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of one kind of instrument each."""
    return [
        _subscription(kind, group, channels)
        for kind in Kind
        for group in per_socket([i for i in instruments if i.kind is kind], _INSTRUMENTS_PER_SOCKET)
    ]


def _subscription(kind: Kind, instruments: tuple[Instrument, ...], channels: frozenset[Channel]) -> Subscription:
    topics = (f"{_TOPICS[c]}.{i.stream_spelling}" for c in sorted(channels) for i in instruments)
    messages = one_by_one({"op": "subscribe", "args": [topic]} for topic in topics)
    symbols = symbols_by_spelling(instruments)
    trades = _trades_decoder(symbols, _DECODE_TRADES[kind], _trades_decoder(symbols, _decode_trades))
    decode = reader(channels, {Channel.TRADES: trades, Channel.BOOK: _books_decoder(symbols)})
    ping = b'{"op":"ping"}'
    return Subscription(
        f"{kind}.stream", _PATHS[kind], messages, instruments, channels, decode, ping=ping, stall_after=10.0
    )


def _trades_decoder(
    symbols: Mapping[str, str], decode_trades: _DecodeTrades, otherwise: Decode | None = None
) -> Decode:
    """The reader of trades; frames that are not what it expects are left to `otherwise`. A frame with one wrong trade
    is wrong as a whole."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            trades = []  # one trade is the rule, for which a comprehension costs more
            for raw in decode_trades(frame).data:
                side = _BUY if raw.S == "Buy" else _SELL
                time = raw.T * MILLISECOND
                trades.append(Trade("bybit", symbols[raw.s], raw.i, time, raw.p, raw.v, side, time_received))
            return trades
        except WRONG as error:
            if otherwise is not None and isinstance(error, msgspec.ValidationError):
                return otherwise(frame, time_received)
            return _nothing(frame, malformed(error), symbols)

    return decode


def _books_decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of books. A frame with one wrong level is wrong as a whole."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_book(frame)
            book = raw.data
            is_snapshot, time = raw.type == "snapshot", raw.ts * MILLISECOND
            symbol = symbols[book.s]
            return (BookUpdate("bybit", symbol, is_snapshot, book.b, book.a, time, time_received, None, book.u),)
        except WRONG as error:
            return _nothing(frame, malformed(error), symbols)

    return decode


def _nothing(frame: Frame, error: MalformedFrame, symbols: Mapping[str, str]) -> Sequence[Event]:
    """Pass an acknowledgement, raise what a refusal is and `error` for anything else."""
    reply = notice_in(frame, _decode_reply, error)
    if not reply.success:
        raise refusal(f"bybit: {reply.ret_msg}", symbols)
    if not reply.op:
        raise error
    return ()
