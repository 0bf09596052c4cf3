"""The REST answers of Coinbase Exchange.

Sources, read 2026-11-24: docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products
(`get-all-known-trading-pairs`, `get-product-trades`, `get-product-candles`).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.answers import read_answer, readable, step
from crosstape.exchanges.dialect import Kline, Rejected
from crosstape.exchanges.digits import number_text
from crosstape.exchanges.frames import WRONG, Id, malformed
from crosstape.exchanges.times import iso


class _Error(Struct):
    """docs.cdp.coinbase.com/exchange/rest-api/requests"""

    message: str


class _Product(Struct):
    """`get-all-known-trading-pairs`"""

    id: str
    base_currency: str
    quote_currency: str
    quote_increment: str
    base_increment: str
    status: str
    trading_disabled: bool = False
    cancel_only: bool = False


class _Trade(Struct):
    """`get-product-trades`: "the trade side indicates the maker order side"."""

    trade_id: Id
    side: Literal["buy", "sell"]
    size: str
    price: str
    time: str


class _Candle(Struct, array_like=True):
    """`get-product-candles`: time (s) of the open; numbers."""

    time: int
    low: msgspec.Raw
    high: msgspec.Raw
    open: msgspec.Raw
    close: msgspec.Raw
    volume: msgspec.Raw


_error = msgspec.json.Decoder(_Error)
_products = msgspec.json.Decoder(list[msgspec.Raw])
_product = msgspec.json.Decoder(_Product)
_trades = msgspec.json.Decoder(list[_Trade])
_candles = msgspec.json.Decoder(list[_Candle])


def instruments(body: bytes) -> list[Instrument]:
    """The tradable markets of `/products`."""
    rows = read_answer(_products, body, _rejection)
    return [
        Instrument(
            "coinbasepro",
            raw.id,
            raw.base_currency,
            raw.quote_currency,
            tick_size=step(raw.quote_increment),
            lot_size=step(raw.base_increment),
        )
        for raw in readable("coinbasepro", _product, rows)
        if raw is not None and raw.status == "online" and not raw.trading_disabled and not raw.cancel_only
    ]


def trades(symbol: str, body: bytes, time_received: int) -> list[Trade]:
    """The trades of `/products/{id}/trades`, unchecked."""
    rows = read_answer(_trades, body, _rejection)
    try:
        return [_trade(row, symbol, time_received) for row in rows]
    except WRONG as error:
        raise malformed(error) from error


def _trade(raw: _Trade, symbol: str, time_received: int) -> Trade:
    side = TakerSide.BUY if raw.side == "sell" else TakerSide.SELL
    return Trade("coinbasepro", symbol, raw.trade_id, iso(raw.time), raw.price, raw.size, side, time_received)


def klines(body: bytes) -> list[Kline]:
    """The candles of `/products/{id}/candles`, unchecked."""
    rows = read_answer(_candles, body, _rejection)
    try:
        return [_kline(row) for row in rows]
    except WRONG as error:
        raise malformed(error) from error


def _kline(raw: _Candle) -> Kline:
    numbers = map(number_text, (raw.open, raw.high, raw.low, raw.close, raw.volume))
    return Kline(raw.time * 1_000, *numbers)


def _rejection(body: bytes) -> Rejected | None:
    try:
        raw = _error.decode(body)
    except WRONG:
        return None
    return Rejected(f"coinbasepro: {raw.message}", is_transient="rate limit" in raw.message.lower())
