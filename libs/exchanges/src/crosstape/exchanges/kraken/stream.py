"""Kraken's socket, version 2: what to subscribe and how to read a frame.

Prices and quantities are JSON numbers with full precision, on which the book's checksum depends: they stay text.
Sources, read 2026-11-24: docs.kraken.com/exchange/api-reference/spot-websocket-v2 (`trade`, `book`, `heartbeat`,
`status`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, Decode, Event, Frame, MalformedFrame, Subscription
from crosstape.exchanges.digits import number_text
from crosstape.exchanges.frames import WRONG, Id, malformed, notice_in
from crosstape.exchanges.sockets import per_socket, reader, refusal, symbols_by_spelling
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
    """What answers a request, market by market. A refused one has `success` false and says why."""

    method: str = ""
    success: bool | None = None
    error: str | None = None
    symbol: str = ""


_decode_trades = msgspec.json.Decoder(_Trades).decode
_decode_books = msgspec.json.Decoder(_Books).decode
_decode_notice = msgspec.json.Decoder(_Heartbeat | _Status).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode


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
    spellings = symbols_by_spelling(instruments)
    decode = reader(channels, {Channel.TRADES: _trades_decoder(spellings), Channel.BOOK: _books_decoder(spellings)})
    return Subscription("stream", "/v2", messages, instruments, channels, decode, stall_after=10.0)


def _trades_decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of trades. A frame with one wrong trade is wrong as a whole."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            trades = []  # few trades are the rule, for which a comprehension costs more
            for raw in _decode_trades(frame).data:
                time, side = iso(raw.timestamp), _BUY if raw.side == "buy" else _SELL
                price, quantity = number_text(raw.price), number_text(raw.qty)
                symbol = symbols[raw.symbol]
                trades.append(Trade("kraken", symbol, raw.trade_id, time, price, quantity, side, time_received))
            return trades
        except WRONG as error:
            return _nothing(frame, malformed(error), symbols)

    return decode


def _books_decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of books. A frame with one wrong level is wrong as a whole."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_books(frame)
            is_snapshot = raw.type == "snapshot"
            return [_update(one, symbols[one.symbol], is_snapshot, time_received) for one in raw.data]
        except WRONG as error:
            return _nothing(frame, malformed(error), symbols)

    return decode


def _nothing(frame: Frame, error: MalformedFrame, symbols: Mapping[str, str]) -> Sequence[Event]:
    """Pass what tells nothing of a market, raise what a refusal is and `error` for anything else."""
    with contextlib.suppress(MalformedFrame):
        notice_in(frame, _decode_notice, error)
        return ()
    reply = notice_in(frame, _decode_reply, error)
    if reply.success is False or reply.error is not None:
        raise refusal(f"kraken: {reply.error}: {reply.symbol}", symbols)
    if not reply.method:
        raise error
    return ()


def _update(raw: _Book, symbol: str, is_snapshot: bool, time_received: int) -> BookUpdate:
    bids, asks = _levels(raw.bids), _levels(raw.asks)
    time = iso(raw.timestamp) if raw.timestamp else time_received
    return BookUpdate("kraken", symbol, is_snapshot, bids, asks, time, time_received, None, None, None, raw.checksum)


def _levels(raw: list[_Level]) -> list[Level]:
    levels = []  # few levels are the rule, for which a comprehension costs more
    for level in raw:
        price, quantity = number_text(level.price), number_text(level.qty)
        levels.append((price, quantity))
    return levels
