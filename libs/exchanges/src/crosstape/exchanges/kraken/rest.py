"""Kraken's REST answers.

Sources, read 2026-11-24: docs.kraken.com/api-reference/market-data (`get-tradable-asset-pairs`, `get-recent-trades`,
`get-ohlc-data`) and docs.kraken.com/exchange/guides/general/historical-data.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from crosstape.common.market.decimals import SCALE, decimal_text
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.answers import readable, step
from crosstape.exchanges.dialect import Kline, MalformedFrame, Rejected
from crosstape.exchanges.frames import WRONG, Id, malformed
from crosstape.exchanges.times import decimal_seconds

T = TypeVar("T")

_STREAM_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""Version 2 of the socket renamed these two; REST did not (support article 360000920306)."""

_USUAL_NAMES = {
    **_STREAM_NAMES,
    "LUNA": "LUNC",
    "LUNA2": "LUNA",
    "UST": "USTC",
    "REPV2": "REP",
    "REP": "REPV1",
}
"""Kraken kept the names of coins whose successors took them elsewhere (ccxt 4.5.64, `commonCurrencies`)."""

_TRADABLE = ("online", "limit_only", "reduce_only")
_REFUSAL = ("EAPI:Rate limit", "EGeneral:Too many requests", "EGeneral:Temporary lockout")
_TRANSIENT = "EService:"
_MICROSECOND = 1_000


class _Answer(Struct, Generic[T]):
    """Every body: errors, or a result."""

    error: list[str]
    result: T | msgspec.UnsetType = msgspec.UNSET


class _Pair(Struct):
    """`get-tradable-asset-pairs`; `wsname` is absent for dark pools."""

    altname: str
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""
    aclass_base: str = "currency"
    status: str = "online"
    tick_size: str = ""


class _Trade(Struct, array_like=True):
    """`get-recent-trades`: price, volume, time (s, a number), side of the taker, order type, misc, id."""

    price: str
    volume: str
    time: msgspec.Raw
    side: Literal["b", "s"]
    order_type: str
    misc: str
    trade_id: Id


class _Candle(Struct, array_like=True):
    """`get-ohlc-data`: time (s) of the open, prices, volume-weighted average price, volume."""

    time: int
    open: str
    high: str
    low: str
    close: str
    vwap: str
    volume: str


_pairs = msgspec.json.Decoder(_Answer[dict[str, msgspec.Raw]])
_pair = msgspec.json.Decoder(_Pair)
_trades = msgspec.json.Decoder(_Answer[dict[str, list[_Trade] | str]])
_candles = msgspec.json.Decoder(_Answer[dict[str, list[_Candle] | int]])


def instruments(body: bytes) -> list[Instrument]:
    """The tradable markets of `AssetPairs`. Base and quote are the two sides of `wsname`'s slash."""
    rows = _read(_pairs, body)
    pairs = readable("kraken", _pair, rows.values())
    return [
        _instrument(key, raw)
        for key, raw in zip(rows, pairs, strict=True)
        if raw is not None and raw.wsname.count("/") == 1 and raw.aclass_base == "currency" and raw.status in _TRADABLE
    ]


def _instrument(key: str, raw: _Pair) -> Instrument:
    base, quote = raw.wsname.split("/")
    return Instrument(
        "kraken",
        raw.altname,
        _USUAL_NAMES.get(base, base),
        _USUAL_NAMES.get(quote, quote),
        tick_size=step(raw.tick_size) or _power(raw.pair_decimals),
        lot_size=_power(raw.lot_decimals),
        stream_symbol=f"{_STREAM_NAMES.get(base, base)}/{_STREAM_NAMES.get(quote, quote)}",
        aliases=(raw.wsname,) if key == raw.altname else (raw.wsname, key),
    )


def _power(decimals: int) -> str:
    return decimal_text(Decimal(1).scaleb(-decimals)) if 0 <= decimals <= SCALE else ""


def trades(symbol: str, body: bytes, time_received: int) -> tuple[list[Trade], int]:
    """The trades of `Trades`, unchecked, and the time (ns) that asks for the next ones.

    REST tells times to 100 ns and the socket to 1 µs: they are cut to what both know.
    """
    result = _read(_trades, body)
    last = result.pop("last", None)
    if not isinstance(last, str) or not (last.isascii() and last.isdigit() and len(last) <= 19):
        raise MalformedFrame("schema", "no time of the last trade")
    rows = [row for value in result.values() if isinstance(value, list) for row in value]
    try:
        return [_trade(row, symbol, time_received) for row in rows], int(last)
    except WRONG as error:
        raise malformed(error) from error


def _trade(raw: _Trade, symbol: str, time_received: int) -> Trade:
    time = decimal_seconds(str(raw.time, "ascii")) // _MICROSECOND * _MICROSECOND
    side = TakerSide.BUY if raw.side == "b" else TakerSide.SELL
    return Trade("kraken", symbol, raw.trade_id, time, raw.price, raw.volume, side, time_received)


def klines(body: bytes) -> list[Kline]:
    """The candles of `OHLC`, unchecked."""
    rows = [row for value in _read(_candles, body).values() if isinstance(value, list) for row in value]
    return [Kline(row.time * 1_000, row.open, row.high, row.low, row.close, row.volume) for row in rows]


def _read(decoder: msgspec.json.Decoder[_Answer[T]], body: bytes) -> T:
    """The result of an answer. Raises Rejected where there are errors, MalformedFrame where it is no answer."""
    try:
        answer = decoder.decode(body)
    except WRONG as error:
        raise malformed(error) from error
    if answer.error:
        message = "; ".join(answer.error)
        raise Rejected(
            f"kraken: {message}",
            is_transient=message.startswith(_TRANSIENT),
            is_refusal=message.startswith(_REFUSAL),
        )
    if answer.result is msgspec.UNSET:
        raise MalformedFrame("schema", "neither an error nor a result")
    return answer.result
