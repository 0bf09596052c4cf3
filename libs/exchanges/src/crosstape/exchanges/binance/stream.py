"""Binance's sockets: what to subscribe and how to read a frame.

Trades are `@trade` (one frame a fill, ids consecutive per market), not `@aggTrade`, whose ids are another space.
On USD-M `@trade` is live but undocumented (ccxt, hftbacktest and tardis.dev use it).
Sources, read 2026-11-24: github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md and
developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, MalformedFrame, Subscription
from crosstape.exchanges.frames import WRONG, Id, Milliseconds, malformed
from crosstape.exchanges.sockets import per_socket, symbols_by_spelling
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


class _PerpetualTrade(Struct, tag_field="e", tag="trade", gc=False):
    """USD-M's `<symbol>@trade`, as recorded in 2024-08. `X` other than MARKET (INSURANCE_FUND, ADL, NA)
    is no fill of the order book; REST does not list it either (market-data/rest-api/Old-Trades-Lookup)."""

    s: str
    t: Id
    p: str
    q: str
    T: Milliseconds
    m: bool
    X: str = "MARKET"


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


class _Frame(Struct, gc=False):
    """An event of a combined stream, or the answer (`id`) to a request."""

    data: _Trade | _Depth | _Shutdown | None = None
    id: int | str | None = None
    error: _Error | None = None


class _PerpetualFrame(Struct, gc=False):
    """The same on USD-M."""

    data: _PerpetualTrade | _Depth | _Shutdown | None = None
    id: int | str | None = None
    error: _Error | None = None


# An attribute of an enum class costs as much as the decoding of a field.
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL

_DECODE_FRAME: Mapping[Kind, Callable[[bytes | bytearray | memoryview], _Frame | _PerpetualFrame]] = {
    Kind.SPOT: msgspec.json.Decoder(_Frame).decode,
    Kind.PERPETUAL: msgspec.json.Decoder(_PerpetualFrame).decode,
}


def subscriptions(instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
    """Sockets of one kind of instrument each."""
    return [
        _subscription(kind, group, channels)
        for kind in Kind
        for group in per_socket([i for i in instruments if i.kind is kind], _INSTRUMENTS_PER_SOCKET)
    ]


def _subscription(kind: Kind, instruments: tuple[Instrument, ...], channels: frozenset[Channel]) -> Subscription:
    names = [f"{quote(i.exchange_symbol.lower())}@{_STREAMS[c]}" for i in instruments for c in sorted(channels)]
    return Subscription(
        f"{kind}.stream",
        _PATH[kind] + "/".join(names),
        (),
        instruments,
        channels,
        _decoder(symbols_by_spelling(instruments), _DECODE_FRAME[kind]),
    )


def _decoder(
    symbols: Mapping[str, str],
    decode_frame: Callable[[bytes | bytearray | memoryview], _Frame | _PerpetualFrame],
) -> Decode:
    """The reader of one socket's frames: one function, as a call costs a tenth of a trade's decoding."""

    def decode(frame: bytes | bytearray | memoryview, time_received: int) -> Sequence[Event]:
        try:
            raw = decode_frame(frame)
            data = raw.data
            if type(data) is _Trade or (type(data) is _PerpetualTrade and data.X == "MARKET"):
                side = _SELL if data.m else _BUY
                time = data.T * MILLISECOND
                return (Trade("binance", symbols[data.s], data.t, time, data.p, data.q, side, time_received),)
            if type(data) is _Depth:
                return (_update(data, symbols[data.s], time_received),)
        except WRONG as error:
            raise malformed(error) from error
        return _nothing(raw)

    return decode


def _nothing(raw: _Frame | _PerpetualFrame) -> Sequence[Event]:
    if type(raw.data) is _Shutdown:
        raise FeedError("binance: the server is shutting down")
    if raw.error is not None:
        raise FeedError(f"binance: {raw.error.msg}")
    if raw.data is None and raw.id is None:
        raise MalformedFrame("schema", "neither data nor an answer")
    return ()


def _update(raw: _Depth, symbol: str, time_received: int) -> BookUpdate:
    time = raw.E * MILLISECOND
    return BookUpdate("binance", symbol, False, raw.b, raw.a, time, time_received, raw.U, raw.u, raw.pu)
