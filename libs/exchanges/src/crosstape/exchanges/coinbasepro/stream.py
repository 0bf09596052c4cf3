"""The public feed of Coinbase Exchange: what to subscribe and how to read a frame.

`side` of a match is the MAKER's: the taker did the opposite. `level2_batch` numbers nothing and has no checksum; the
documentation promises that no update is left out of a connection, so a book holds until its connection ends. The
heartbeat, once a second and market, keeps a quiet socket from looking dead.
Sources, read 2026-11-24: docs.cdp.coinbase.com/exchange/websocket-feed/channels and .../errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, final

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, Decode, Event, Frame, MalformedFrame, Subscription
from crosstape.exchanges.frames import WRONG, Id, malformed, notice_in
from crosstape.exchanges.sockets import one_by_one, per_socket, reader, refusal, symbols_by_spelling
from crosstape.exchanges.times import iso

_INSTRUMENTS_PER_SOCKET = 20
"""A snapshot is the whole book, tens of thousands of levels: few markets share a socket."""

_CHANNELS = {Channel.TRADES: "matches", Channel.BOOK: "level2_batch"}
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL


class _Match(Struct, gc=False):
    """Channel `matches`: one fill; `trade_id` counts the product's trades. `last_match` is the newest fill before the
    subscription, sent once."""

    type: Literal["match", "last_match"]
    trade_id: Id
    side: Literal["buy", "sell"]
    size: str
    price: str
    product_id: str
    time: str


@final
class _Snapshot(Struct, tag_field="type", tag="snapshot", gc=False):
    """Channel `level2_batch`: the whole book."""

    product_id: str
    bids: list[Level]
    asks: list[Level]


class _Update(Struct, tag_field="type", tag="l2update", gc=False):
    """Channel `level2_batch`: the side of the book, the price, the new quantity; every 50 ms."""

    product_id: str
    changes: list[tuple[Literal["buy", "sell"], str, str]]
    time: str


class _Heartbeat(Struct, tag_field="type", tag="heartbeat"):
    """Channel `heartbeat`."""


class _Subscriptions(Struct, tag_field="type", tag="subscriptions"):
    """The acknowledgement: what is subscribed now."""


class _Error(Struct, tag_field="type", tag="error"):
    """A refused subscription, or a feed that cannot go on."""

    message: str
    reason: str = ""


_decode_match = msgspec.json.Decoder(_Match).decode
_decode_book = msgspec.json.Decoder(_Snapshot | _Update).decode
_decode_notice = msgspec.json.Decoder(_Heartbeat | _Subscriptions | _Error).decode


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of a few markets each."""
    return [_subscription(group, channels) for group in per_socket(instruments, _INSTRUMENTS_PER_SOCKET)]


def _subscription(instruments: tuple[Instrument, ...], channels: frozenset[Channel]) -> Subscription:
    names = [*(_CHANNELS[c] for c in sorted(channels)), "heartbeat"]
    messages = one_by_one(
        {"type": "subscribe", "product_ids": [i.stream_spelling], "channels": names} for i in instruments
    )
    symbols = symbols_by_spelling(instruments)
    decode = reader(channels, {Channel.TRADES: _trades_decoder(symbols), Channel.BOOK: _books_decoder(symbols)})
    return Subscription("stream", "", messages, instruments, channels, decode, stall_after=10.0)


def _trades_decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of matches."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_match(frame)
            side = _BUY if raw.side == "sell" else _SELL
            symbol, time = symbols[raw.product_id], iso(raw.time)
            return (Trade("coinbasepro", symbol, raw.trade_id, time, raw.price, raw.size, side, time_received),)
        except WRONG as error:
            return _nothing(frame, malformed(error), symbols)

    return decode


def _books_decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of books. A frame with one wrong level is wrong as a whole."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_book(frame)
            symbol = symbols[raw.product_id]
            if type(raw) is _Snapshot:
                return (_snapshot(raw, symbol, time_received),)
            return (_update(raw, symbol, time_received),)
        except WRONG as error:
            return _nothing(frame, malformed(error), symbols)

    return decode


def _nothing(frame: Frame, error: MalformedFrame, symbols: Mapping[str, str]) -> Sequence[Event]:
    """Pass what tells nothing of a market, raise what a refusal is and `error` for anything else."""
    notice = notice_in(frame, _decode_notice, error)
    if type(notice) is _Error:
        raise refusal(f"coinbasepro: {notice.message}: {notice.reason}", symbols)
    return ()


def _update(raw: _Update, symbol: str, time_received: int) -> BookUpdate:
    bids: list[Level] = []
    asks: list[Level] = []
    for side, price, quantity in raw.changes:
        level = (price if price[-1] != "0" else _spelled(price), quantity)
        (bids if side == "buy" else asks).append(level)
    return BookUpdate("coinbasepro", symbol, False, bids, asks, iso(raw.time), time_received)


def _snapshot(raw: _Snapshot, symbol: str, time_received: int) -> BookUpdate:
    bids = [(_spelled(price), quantity) for price, quantity in raw.bids]
    asks = [(_spelled(price), quantity) for price, quantity in raw.asks]
    return BookUpdate("coinbasepro", symbol, True, bids, asks, time_received, time_received)


def _spelled(price: str) -> str:
    """One spelling of a price: the documentation's updates have trailing zeros that its snapshots do not."""
    return price.rstrip("0").rstrip(".") if "." in price else price
