"""The public feed of Coinbase Exchange: what to subscribe and how to read a frame.

`side` of a match is the MAKER's: the taker did the opposite. `level2_batch` numbers nothing and has no checksum; the
documentation promises that no update is left out of a connection, so a book holds until its connection ends. The
heartbeat, once a second and market, keeps a quiet socket from looking dead.
Sources, read 2026-11-24: docs.cdp.coinbase.com/exchange/websocket-feed/channels and .../errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, Subscription
from crosstape.exchanges.frames import WRONG, Id, malformed
from crosstape.exchanges.sockets import per_socket, symbols_by_spelling
from crosstape.exchanges.times import iso

_INSTRUMENTS_PER_SOCKET = 20
"""A snapshot is the whole book, tens of thousands of levels: few markets share a socket."""

_CHANNELS = {Channel.TRADES: "matches", Channel.BOOK: "level2_batch"}
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL


class _Match(Struct, tag_field="type", tag="match", gc=False):
    """Channel `matches`: one fill; `trade_id` counts the product's trades."""

    trade_id: Id
    side: Literal["buy", "sell"]
    size: str
    price: str
    product_id: str
    time: str


class _LastMatch(_Match, tag="last_match", gc=False):
    """The newest fill before the subscription, sent once."""


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


_decode_frame = msgspec.json.Decoder(
    _Match | _LastMatch | _Snapshot | _Update | _Heartbeat | _Subscriptions | _Error
).decode


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of a few markets each."""
    return [_subscription(group, channels) for group in per_socket(instruments, _INSTRUMENTS_PER_SOCKET)]


def _subscription(instruments: tuple[Instrument, ...], channels: frozenset[Channel]) -> Subscription:
    message = {
        "type": "subscribe",
        "product_ids": [i.stream_spelling for i in instruments],
        "channels": [*(_CHANNELS[c] for c in sorted(channels)), "heartbeat"],
    }
    decode = _decoder(symbols_by_spelling(instruments))
    return Subscription("stream", "", (msgspec.json.encode(message),), instruments, channels, decode, stall_after=10.0)


def _decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of one socket's frames. A frame with one wrong level is wrong as a whole."""

    def decode(frame: bytes | bytearray | memoryview, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_frame(frame)
            if isinstance(raw, _Match):
                side = _BUY if raw.side == "sell" else _SELL
                symbol, time = symbols[raw.product_id], iso(raw.time)
                return (Trade("coinbasepro", symbol, raw.trade_id, time, raw.price, raw.size, side, time_received),)
            if type(raw) is _Update:
                return (_update(raw, symbols[raw.product_id], time_received),)
            if type(raw) is _Snapshot:
                return (_snapshot(raw, symbols[raw.product_id], time_received),)
        except WRONG as error:
            raise malformed(error) from error
        if type(raw) is _Error:
            raise FeedError(f"coinbasepro: {raw.message}: {raw.reason}")
        return ()

    return decode


def _update(raw: _Update, symbol: str, time_received: int) -> BookUpdate:
    bids = [(_spelled(price), quantity) for side, price, quantity in raw.changes if side == "buy"]
    asks = [(_spelled(price), quantity) for side, price, quantity in raw.changes if side == "sell"]
    return BookUpdate("coinbasepro", symbol, False, bids, asks, iso(raw.time), time_received)


def _snapshot(raw: _Snapshot, symbol: str, time_received: int) -> BookUpdate:
    bids = [(_spelled(price), quantity) for price, quantity in raw.bids]
    asks = [(_spelled(price), quantity) for price, quantity in raw.asks]
    return BookUpdate("coinbasepro", symbol, True, bids, asks, time_received, time_received)


def _spelled(price: str) -> str:
    """One spelling of a price: the documentation's updates have trailing zeros that its snapshots do not."""
    return price.rstrip("0").rstrip(".") if "." in price else price
