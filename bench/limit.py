"""The limit: the least that Python can do with msgspec to have the same values from the same frames.

One typed decoder a channel that declares only what is used, one compact struct a trade, a plain dict a side of a book.
Times and sides are normalised as far as a line does it; nothing is checked, no error is named, symbols stay the
exchange's. Prices and quantities are text, or (`exact`) Decimals: then they are known to be numbers.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from types import GenericAlias
from typing import Any, Literal

import msgspec
from msgspec import defstruct

from bench.inputs import Input
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel

Runner = Callable[[], int]
_BUY, _SELL = TakerSide.BUY, TakerSide.SELL
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_SIDE = Literal["buy", "sell"]
_ZERO = f"0.{'0' * 40}"
"""No text of a zero sorts after this one."""

Read = Callable[[bytes], object]


def runner(source: Input, *, exact: bool = False) -> Runner:
    """A call that makes the values of every frame, one function call a frame as from a socket; returns how many."""
    if source.channel is Channel.BOOK:
        return _changes(source) if source.dialect.exchange == "coinbasepro" else _book(source)
    read = _TRADES[source.dialect.exchange](Decimal if exact else str)

    def run() -> int:
        for frame in source.ours:
            read(frame)
        return source.items

    return run


def _struct(**fields: Any) -> Any:
    return defstruct("Raw", list(fields.items()), gc=False)


def _list(item: Any) -> Any:
    """`list[item]` of an item that is made at run time."""
    return GenericAlias(list, (item,))


def _decoder(kind: Any) -> Any:
    """Lax: numbers that come as text become numbers in C."""
    return msgspec.json.Decoder(kind, strict=False).decode


def _binance(number: type) -> Read:
    decode, now = _decoder(_struct(data=_struct(s=str, t=int, T=int, p=number, q=number, m=bool))), time.time_ns

    def read(frame: bytes) -> Trade:
        one = decode(frame).data
        return Trade("binance", one.s, one.t, one.T * 1_000_000, one.p, one.q, _SELL if one.m else _BUY, now())

    return read


def _coinbase(number: type) -> Read:
    match = _struct(product_id=str, trade_id=int, time=dt.datetime, price=number, size=number, side=_SIDE)
    decode, now = _decoder(match), time.time_ns

    def read(frame: bytes) -> Trade:
        one = decode(frame)
        at = (one.time - _EPOCH) // _MICROSECOND * 1_000
        side = _BUY if one.side == "sell" else _SELL
        return Trade("coinbasepro", one.product_id, one.trade_id, at, one.price, one.size, side, now())

    return read


def _okx(number: type) -> Read:
    trade = _struct(instId=str, tradeId=int, ts=int, px=number, sz=number, side=_SIDE)
    decode, now = _decoder(_struct(data=_list(trade))), time.time_ns

    def read(frame: bytes) -> list[Trade]:
        received = now()
        trades = []
        for t in decode(frame).data:
            side = _BUY if t.side == "buy" else _SELL
            trades.append(Trade("okx", t.instId, t.tradeId, t.ts * 1_000_000, t.px, t.sz, side, received))
        return trades

    return read


def _bybit(number: type) -> Read:
    trade = _struct(s=str, i=str, T=int, p=number, v=number, S=Literal["Buy", "Sell"])
    decode, now = _decoder(_struct(data=_list(trade))), time.time_ns

    def read(frame: bytes) -> list[Trade]:
        received = now()
        trades = []
        for t in decode(frame).data:
            side = _BUY if t.S == "Buy" else _SELL
            trades.append(Trade("bybit", t.s, t.i, t.T * 1_000_000, t.p, t.v, side, received))
        return trades

    return read


def _kraken(number: type) -> Read:
    """Kraken's prices are JSON numbers: without a float they are Decimals either way."""
    trade = _struct(symbol=str, trade_id=int, timestamp=dt.datetime, price=Decimal, qty=Decimal, side=_SIDE)
    decode, now = _decoder(_struct(data=_list(trade))), time.time_ns

    def read(frame: bytes) -> list[Trade]:
        received = now()
        trades = []
        for one in decode(frame).data:
            at = (one.timestamp - _EPOCH) // _MICROSECOND * 1_000
            side = _BUY if one.side == "buy" else _SELL
            trades.append(Trade("kraken", one.symbol, one.trade_id, at, one.price, one.qty, side, received))
        return trades

    return read


_TRADES: dict[str, Callable[[type], Read]] = {
    "binance": _binance,
    "coinbasepro": _coinbase,
    "okx": _okx,
    "bybit": _bybit,
    "kraken": _kraken,
}
_BOOKS: dict[str, tuple[str, str, Any, bool]] = {
    "binance": ("b", "a", tuple[str, str], False),
    "bybit": ("b", "a", tuple[str, str], False),
    "okx": ("bids", "asks", tuple[str, str, str, str], True),
    "kraken": ("bids", "asks", _struct(price=Decimal, qty=Decimal), True),
}


def _book(source: Input) -> Runner:
    """All levels of all frames into one dict a side."""
    bid_name, ask_name, level, is_list = _BOOKS[source.dialect.exchange]
    sides = [("bids", _list(level)), ("asks", _list(level))]
    book = defstruct("Book", sides, rename={"bids": bid_name, "asks": ask_name})
    decode = _decoder(_struct(data=_list(book) if is_list else book))
    set_levels = _set_numbers if source.dialect.exchange == "kraken" else _set_texts
    bids: dict[Any, Any] = {}
    asks: dict[Any, Any] = {}

    def run() -> int:
        for frame in source.ours:
            data = decode(frame).data
            for one in data if is_list else (data,):
                set_levels(bids, one.bids)
                set_levels(asks, one.asks)
        return len(source.ours)

    return run


def _set_texts(side: dict[Any, Any], levels: list[tuple[str, ...]]) -> None:
    for level in levels:
        if level[1] > _ZERO:
            side[level[0]] = level[1]
        else:
            side.pop(level[0], None)


def _set_numbers(side: dict[Any, Any], levels: list[Any]) -> None:
    for level in levels:
        if level.qty:
            side[level.price] = level.qty
        else:
            side.pop(level.price, None)


def _changes(source: Input) -> Runner:
    """Coinbase names the side of each level; a snapshot has two lists."""
    pair = list[tuple[str, str]]
    fields: list[Any] = [("changes", list[tuple[str, str, str]], []), ("bids", pair, []), ("asks", pair, [])]
    decode = _decoder(defstruct("Raw", fields))
    sides: dict[str, dict[str, str]] = {"buy": {}, "sell": {}}

    def run() -> int:
        for frame in source.ours:
            one = decode(frame)
            for side, price, size in one.changes:
                if size > _ZERO:
                    sides[side][price] = size
                else:
                    sides[side].pop(price, None)
            sides["buy"].update(one.bids)
            sides["sell"].update(one.asks)
        return len(source.ours)

    return run
