"""OKX's REST answers.

Source, read 2026-11-24: www.okx.com/docs-v5/en ("Get instruments", "Get trades history", "Get candlesticks history").
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from crosstape.common.market.decimals import is_positive_decimal
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade, trade_id
from crosstape.exchanges.answers import readable, step
from crosstape.exchanges.dialect import Kline, Rejected
from crosstape.exchanges.frames import WRONG, TextId, malformed
from crosstape.exchanges.okx.contracts import Swap, base_quantity, contract_value
from crosstape.exchanges.times import MILLISECOND, milliseconds

T = TypeVar("T")

_TRANSIENT = {"50001", "50004", "50005", "50013", "50026"}
"""Unavailable, timed out, offline, busy, failing ("Error code")."""

_REFUSAL = {"50011", "50040", "50061"}
"""Requests or orders come too often ("Error code")."""


class _Answer(Struct, Generic[T]):
    """Every body: code `0` and data, or an error."""

    code: str
    msg: str = ""
    data: list[T] = []


class _Instrument(Struct, rename="camel"):
    """ "Get instruments": spot has `baseCcy` and `quoteCcy`, a linear swap `ctValCcy`."""

    inst_id: str
    state: str
    tick_sz: str
    lot_sz: str
    base_ccy: str = ""
    quote_ccy: str = ""
    ct_type: str = ""
    ct_val: str = ""
    ct_val_ccy: str = ""


class _Trade(Struct, rename="camel"):
    """ "Get trades history": `side` is the taker's."""

    trade_id: TextId
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: str


class _Candle(Struct, array_like=True):
    """ "Get candlesticks history": `volume` in base (spot) or contracts, `volume_currency` in quote or base."""

    ts: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    volume_currency: str


_instruments = msgspec.json.Decoder(_Answer[msgspec.Raw])
_instrument = msgspec.json.Decoder(_Instrument)
_trades = msgspec.json.Decoder(_Answer[_Trade])
_candles = msgspec.json.Decoder(_Answer[_Candle])


def spot(body: bytes) -> list[Instrument]:
    """The tradable spot markets of `instruments`."""
    return [
        Instrument(
            "okx",
            raw.inst_id,
            raw.base_ccy,
            raw.quote_ccy,
            tick_size=step(raw.tick_sz),
            lot_size=step(raw.lot_sz),
        )
        for raw in _live(body)
    ]


def swaps(body: bytes) -> list[Instrument]:
    """The tradable linear swaps of `instruments`; inverse ones are sized in quote and have no exact base quantity."""
    return [_swap(raw) for raw in _live(body) if raw.ct_type == "linear" and is_positive_decimal(raw.ct_val)]


def _live(body: bytes) -> list[_Instrument]:
    rows = readable("okx", _instrument, _read(_instruments, body))
    return [raw for raw in rows if raw is not None and raw.state == "live"]


def _swap(raw: _Instrument) -> Swap:
    """Named by its underlying: a swap on BTC-USD may settle in a stablecoin, as the part of the name behind `_` says
    (`BTC-USD_UM-SWAP`)."""
    plain = Swap(
        exchange="okx",
        exchange_symbol=raw.inst_id,
        base=raw.ct_val_ccy,
        quote=raw.inst_id.partition("-")[2].partition("-")[0].partition("_")[0],
        kind=Kind.PERPETUAL,
        tick_size=step(raw.tick_sz),
        contract_value=step(raw.ct_val),
    )
    lot_size = step(raw.lot_sz)
    value = contract_value(plain)
    if not lot_size or value is None:
        return plain
    return msgspec.structs.replace(plain, lot_size=base_quantity(lot_size, value))


def trades(instrument: Instrument, body: bytes, time_received: int) -> list[Trade]:
    """The trades of `history-trades`, unchecked."""
    rows = _read(_trades, body)
    try:
        return [_trade(row, instrument, time_received) for row in rows]
    except WRONG as error:
        raise malformed(error) from error


def _trade(raw: _Trade, instrument: Instrument, time_received: int) -> Trade:
    value = contract_value(instrument)
    return Trade(
        "okx",
        instrument.symbol,
        trade_id(raw.trade_id),
        milliseconds(raw.ts),
        raw.px,
        raw.sz if value is None else base_quantity(raw.sz, value),
        TakerSide.BUY if raw.side == "buy" else TakerSide.SELL,
        time_received,
    )


def klines(instrument: Instrument, body: bytes) -> list[Kline]:
    """The candles of `history-candles`, unchecked."""
    rows = _read(_candles, body)
    is_spot = instrument.kind is Kind.SPOT
    try:
        return [_kline(row, row.volume if is_spot else row.volume_currency) for row in rows]
    except WRONG as error:
        raise malformed(error) from error


def _kline(raw: _Candle, volume: str) -> Kline:
    return Kline(milliseconds(raw.ts) // MILLISECOND, raw.open, raw.high, raw.low, raw.close, volume)


def _read(decoder: msgspec.json.Decoder[_Answer[T]], body: bytes) -> list[T]:
    """The data of an answer. Raises Rejected where it is an error, MalformedFrame where it is no answer."""
    try:
        answer = decoder.decode(body)
    except WRONG as error:
        raise malformed(error) from error
    if answer.code != "0":
        raise Rejected(
            f"okx: {answer.msg} ({answer.code})",
            is_transient=answer.code in _TRANSIENT,
            is_refusal=answer.code in _REFUSAL,
        )
    return answer.data
