"""Binance's sockets: what to subscribe and how to read a frame.

Trades are `@trade` (one frame a fill, ids consecutive per market), not `@aggTrade`, whose ids are another space.
On USD-M `@trade` is live but undocumented (ccxt, hftbacktest and tardis.dev use it).
Sources, read 2026-11-24: github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md and
developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, Frame, MalformedFrame, Subscription
from crosstape.exchanges.frames import WRONG, Id, Milliseconds, malformed, notice_in
from crosstape.exchanges.sockets import per_socket, reader, symbols_by_spelling
from crosstape.exchanges.times import MILLISECOND

_INSTRUMENTS_PER_SOCKET = 50
"""100 streams: the documented limit is 1024, the length of the address is the tighter one."""

_STREAMS = {Channel.TRADES: "trade", Channel.BOOK: "depth@100ms"}

# USD-M sockets are routed by kind of data since 2026-04-23; trades and depth are both on /public (ccxt 4.5.64).
_PATH = {Kind.SPOT: "/stream?streams=", Kind.PERPETUAL: "/public/stream?streams="}


class _Trade(Struct, tag_field="e", tag="trade", gc=False):
    """Stream `<symbol>@trade`. web-socket-streams.md#trade-streams"""

    s: str
    t: Id
    p: str
    q: str
    T: Milliseconds
    m: bool
    """Whether the buyer is the maker, so that the taker sold."""


class _PerpetualTrade(Struct, tag_field="e", tag="trade", gc=False, kw_only=True):
    """USD-M's `<symbol>@trade`, as recorded in 2024-08, where it is a fill of the order book. Fields are declared as
    they follow each other in the frame: that is how they are found fastest."""

    T: Milliseconds
    s: str
    t: Id
    p: str
    q: str
    X: Literal["MARKET"] = "MARKET"
    m: bool


class _NoFill(_Trade, tag="trade", gc=False):
    """USD-M's trade that is none (INSURANCE_FUND, ADL, NA); REST does not list it either
    (market-data/rest-api/Old-Trades-Lookup)."""

    X: str


class _Depth(Struct, tag_field="e", tag="depthUpdate", gc=False):
    """Stream `<symbol>@depth@100ms`. web-socket-streams.md#diff-depth-stream; `pu` is USD-M's
    (Diff-Book-Depth-Streams)."""

    E: Milliseconds
    s: str
    U: Id
    u: Id
    b: list[Level]
    a: list[Level]
    pu: Id | None = None


class _Shutdown(Struct, tag_field="e", tag="serverShutdown"):
    """The server is about to close. web-socket-streams.md#server-shutdown"""


class _Error(Struct):
    """web-socket-streams.md#error-messages"""

    msg: str


class _TradeFrame(Struct, gc=False):
    """A trade on a combined stream."""

    data: _Trade


class _PerpetualTradeFrame(Struct, gc=False):
    """The same on USD-M."""

    data: _PerpetualTrade


class _DepthFrame(Struct, gc=False):
    """A change of a book on a combined stream."""

    data: _Depth


class _Notice(Struct):
    """What else there is: something that is no trade, or the answer (`id`) to a request."""

    data: _NoFill | _Shutdown | None = None
    id: int | str | None = None
    error: _Error | None = None


# An attribute of an enum class costs as much as the decoding of a field.
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL

_DECODE_TRADE: Mapping[Kind, Callable[[Frame], _TradeFrame | _PerpetualTradeFrame]] = {
    Kind.SPOT: msgspec.json.Decoder(_TradeFrame).decode,
    Kind.PERPETUAL: msgspec.json.Decoder(_PerpetualTradeFrame).decode,
}
_decode_depth = msgspec.json.Decoder(_DepthFrame).decode
_decode_notice = msgspec.json.Decoder(_Notice).decode


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of one kind of instrument each."""
    return [
        _subscription(kind, group, channels)
        for kind in Kind
        for group in per_socket([i for i in instruments if i.kind is kind], _INSTRUMENTS_PER_SOCKET)
    ]


def _subscription(kind: Kind, instruments: tuple[Instrument, ...], channels: frozenset[Channel]) -> Subscription:
    names = [f"{quote(i.exchange_symbol.lower())}@{_STREAMS[c]}" for i in instruments for c in sorted(channels)]
    symbols = symbols_by_spelling(instruments)
    decoders = {Channel.TRADES: _trades_decoder(symbols, _DECODE_TRADE[kind]), Channel.BOOK: _books_decoder(symbols)}
    path = _PATH[kind] + "/".join(names)
    # Markets may not trade for minutes, and nothing else is said then.
    return Subscription(f"{kind}.stream", path, (), instruments, channels, reader(channels, decoders), ping=b"")


def _trades_decoder(
    symbols: Mapping[str, str], decode_trade: Callable[[Frame], _TradeFrame | _PerpetualTradeFrame]
) -> Decode:
    """The reader of trades: one function, as a call costs a tenth of a trade's decoding."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = decode_trade(frame).data
            side = _SELL if raw.m else _BUY
            time = raw.T * MILLISECOND
            return (Trade("binance", symbols[raw.s], raw.t, time, raw.p, raw.q, side, time_received),)
        except WRONG as error:
            return _nothing(frame, malformed(error))

    return decode


def _books_decoder(symbols: Mapping[str, str]) -> Decode:
    """The reader of books."""

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            raw = _decode_depth(frame).data
            return (_update(raw, symbols[raw.s], time_received),)
        except WRONG as error:
            return _nothing(frame, malformed(error))

    return decode


def _nothing(frame: Frame, error: MalformedFrame) -> Sequence[Event]:
    """Pass what tells nothing of a market, raise FeedError for what ends the stream and `error` for anything else."""
    notice = notice_in(frame, _decode_notice, error)
    if type(notice.data) is _Shutdown:
        raise FeedError("binance: the server is shutting down")
    if notice.error is not None:
        raise FeedError(f"binance: {notice.error.msg}")
    is_fill = type(notice.data) is _NoFill and notice.data.X == "MARKET"
    if is_fill or (notice.data is None and notice.id is None):
        raise error
    return ()


def _update(raw: _Depth, symbol: str, time_received: int) -> BookUpdate:
    time = raw.E * MILLISECOND
    return BookUpdate("binance", symbol, False, raw.b, raw.a, time, time_received, raw.U, raw.u, raw.pu)
