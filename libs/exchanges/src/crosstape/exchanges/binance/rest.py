"""Binance's REST answers.

Sources, read 2026-11-24: github.com/binance/binance-spot-api-docs/blob/master/rest-api.md and
developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.answers import read_answer, readable, step
from crosstape.exchanges.dialect import Kline, Rejected
from crosstape.exchanges.frames import WRONG, Id, Milliseconds
from crosstape.exchanges.times import MILLISECOND

_TRANSIENT = {-1000, -1001, -1003, -1006, -1007, -1008, -1016}
"""Unknown, disconnected, too many requests, unexpected answer, timeout, overloaded, shutting down."""


class _Error(Struct):
    """github.com/binance/binance-spot-api-docs/blob/master/errors.md"""

    code: int
    msg: str


class _Filter(Struct, rename="camel"):
    filter_type: str
    tick_size: str = ""
    step_size: str = ""


class _Symbol(Struct, rename="camel"):
    """rest-api.md#exchange-information; `contractType` on USD-M only."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[_Filter]
    is_spot_trading_allowed: bool = True
    contract_type: str = ""


class _ExchangeInfo(Struct):
    symbols: list[msgspec.Raw]


class _HistoricalTrade(Struct, rename="camel"):
    """rest-api.md#old-trade-lookup; on USD-M market-data/rest-api/Recent-Trades-List, whose trades are alike."""

    id: Id
    price: str
    qty: str
    time: Milliseconds
    is_buyer_maker: bool


class _AggregateTrade(Struct):
    """rest-api.md#compressedaggregate-trades-list; only to find the first trade id of a time."""

    f: Id


class _Snapshot(Struct, rename="camel"):
    """rest-api.md#order-book; `E` on USD-M only."""

    last_update_id: Id
    bids: list[Level]
    asks: list[Level]
    E: Milliseconds | None = None


_error = msgspec.json.Decoder(_Error)
_exchange_info = msgspec.json.Decoder(_ExchangeInfo)
_symbol = msgspec.json.Decoder(_Symbol)
_historical_trades = msgspec.json.Decoder(list[_HistoricalTrade])
_aggregate_trades = msgspec.json.Decoder(list[_AggregateTrade])
_snapshot = msgspec.json.Decoder(_Snapshot)
_klines = msgspec.json.Decoder(list[Kline])


def instruments(kind: Kind, body: bytes) -> list[Instrument]:
    """The tradable markets of `exchangeInfo`."""
    rows = read_answer(_exchange_info, body, _rejection).symbols
    symbols = readable("binance", _symbol, rows)
    return [_instrument(raw, kind) for raw in symbols if raw is not None and _is_tradable(raw, kind)]


def _is_tradable(raw: _Symbol, kind: Kind) -> bool:
    if kind is Kind.SPOT:
        return raw.status == "TRADING" and raw.is_spot_trading_allowed
    return raw.status == "TRADING" and raw.contract_type in ("PERPETUAL", "TRADIFI_PERPETUAL")


def _instrument(raw: _Symbol, kind: Kind) -> Instrument:
    return Instrument(
        "binance",
        raw.symbol,
        raw.base_asset,
        raw.quote_asset,
        kind,
        next((step(f.tick_size) for f in raw.filters if f.filter_type == "PRICE_FILTER"), ""),
        next((step(f.step_size) for f in raw.filters if f.filter_type == "LOT_SIZE"), ""),
    )


def trades(symbol: str, body: bytes, time_received: int) -> list[Trade]:
    """The trades of `historicalTrades`, unchecked."""
    return [_trade(raw, symbol, time_received) for raw in read_answer(_historical_trades, body, _rejection)]


def _trade(raw: _HistoricalTrade, symbol: str, time_received: int) -> Trade:
    side = TakerSide.SELL if raw.is_buyer_maker else TakerSide.BUY
    return Trade("binance", symbol, raw.id, raw.time * MILLISECOND, raw.price, raw.qty, side, time_received)


def first_trade_id(body: bytes) -> int | None:
    """The id of the first fill in the first aggregate trade of `aggTrades`, None when there is none."""
    found = read_answer(_aggregate_trades, body, _rejection)
    return found[0].f if found else None


def snapshot(symbol: str, body: bytes, time_received: int, depth: int) -> BookUpdate:
    """The book of `depth`, asked for so many levels a side; spot does not tell its time."""
    raw = read_answer(_snapshot, body, _rejection)
    return BookUpdate(
        "binance",
        symbol,
        is_snapshot=True,
        bids=raw.bids,
        asks=raw.asks,
        time=time_received if raw.E is None else raw.E * MILLISECOND,
        time_received=time_received,
        last_id=raw.last_update_id,
        bid_horizon=raw.bids[-1][0] if len(raw.bids) >= depth else None,
        ask_horizon=raw.asks[-1][0] if len(raw.asks) >= depth else None,
    )


def klines(body: bytes) -> list[Kline]:
    """The candles of `klines`, unchecked; their first six columns are a Kline's."""
    return read_answer(_klines, body, _rejection)


def _rejection(body: bytes) -> Rejected | None:
    try:
        raw = _error.decode(body)
    except WRONG:
        return None
    return Rejected(f"binance: {raw.msg} ({raw.code})", is_transient=raw.code in _TRANSIENT)
