"""Bybit's REST answers.

Sources, read 2026-11-24: bybit-exchange.github.io/docs/v5/market (`instrument`, `recent-trade`, `kline`).
"""

from __future__ import annotations

import logging
from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade, trade_id
from crosstape.exchanges.answers import readable, step
from crosstape.exchanges.dialect import Kline, Rejected
from crosstape.exchanges.frames import WRONG, TextId, malformed
from crosstape.exchanges.times import MILLISECOND, milliseconds

T = TypeVar("T")

log = logging.getLogger(__name__)

_TRANSIENT = {10000, 10016}
"""Timed out, internal error (`docs/v5/error`)."""

_REFUSAL = {10006, 10018}
"""Too many requests, and of the address (`docs/v5/error`)."""


class _Result(Struct, Generic[T]):
    """`nextPageCursor` where there is another page, of instruments only."""

    rows: list[T] = msgspec.field(name="list", default_factory=list)
    next_page: str | None = msgspec.field(name="nextPageCursor", default=None)


class _Answer(Struct, Generic[T], rename="camel"):
    """Every body: code 0 and a result, or an error."""

    ret_code: int
    ret_msg: str = ""
    result: _Result[T] | None = None


class _PriceFilter(Struct, rename="camel"):
    tick_size: str = ""


class _LotSizeFilter(Struct, rename="camel"):
    """Spot has `basePrecision`, linear `qtyStep`."""

    base_precision: str = ""
    qty_step: str = ""


class _Instrument(Struct, rename="camel"):
    """`instrument`; `contractType` on linear only."""

    symbol: str
    base_coin: str
    quote_coin: str
    status: str
    price_filter: _PriceFilter
    lot_size_filter: _LotSizeFilter
    contract_type: str = ""


class _Trade(Struct, rename="camel"):
    """`recent-trade`: `side` is the taker's, `time` in ms."""

    exec_id: TextId
    price: str
    size: str
    side: Literal["Buy", "Sell"]
    time: str


class _Candle(Struct, array_like=True):
    """`kline`: time (ms) of the open; volume in base."""

    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str


_instruments = msgspec.json.Decoder(_Answer[msgspec.Raw])
_instrument = msgspec.json.Decoder(_Instrument)
_trades = msgspec.json.Decoder(_Answer[_Trade])
_candles = msgspec.json.Decoder(_Answer[_Candle])


def instruments(kind: Kind, body: bytes) -> list[Instrument]:
    """The tradable spot markets, or linear perpetuals (never dated futures), of `instruments-info`."""
    page = _read(_instruments, body)
    if page.next_page:
        log.warning("bybit: it lists more than the %d %s markets that are read", len(page.rows), kind.value)
    wanted = "" if kind is Kind.SPOT else "LinearPerpetual"
    return [
        Instrument(
            "bybit",
            raw.symbol,
            raw.base_coin,
            raw.quote_coin,
            kind,
            step(raw.price_filter.tick_size),
            step(raw.lot_size_filter.base_precision or raw.lot_size_filter.qty_step),
        )
        for raw in readable("bybit", _instrument, page.rows)
        if raw is not None and raw.status == "Trading" and raw.contract_type == wanted
    ]


def trades(symbol: str, body: bytes, time_received: int) -> list[Trade]:
    """The trades of `recent-trade`, unchecked."""
    rows = _read(_trades, body).rows
    try:
        return [_trade(row, symbol, time_received) for row in rows]
    except WRONG as error:
        raise malformed(error) from error


def _trade(raw: _Trade, symbol: str, time_received: int) -> Trade:
    side = TakerSide.BUY if raw.side == "Buy" else TakerSide.SELL
    time = milliseconds(raw.time)
    return Trade("bybit", symbol, trade_id(raw.exec_id), time, raw.price, raw.size, side, time_received)


def klines(body: bytes) -> list[Kline]:
    """The candles of `kline`, unchecked."""
    rows = _read(_candles, body).rows
    try:
        return [Kline(milliseconds(r.start) // MILLISECOND, r.open, r.high, r.low, r.close, r.volume) for r in rows]
    except WRONG as error:
        raise malformed(error) from error


def _read(decoder: msgspec.json.Decoder[_Answer[T]], body: bytes) -> _Result[T]:
    """The result of an answer. Raises Rejected where it is an error, MalformedFrame where it is no answer."""
    try:
        answer = decoder.decode(body)
    except WRONG as error:
        raise malformed(error) from error
    if answer.ret_code != 0:
        message = f"bybit: {answer.ret_msg} ({answer.ret_code})"
        raise Rejected(message, is_transient=answer.ret_code in _TRANSIENT, is_refusal=answer.ret_code in _REFUSAL)
    return _Result() if answer.result is None else answer.result
