"""Bybit's socket, version 2 (inverse futures), as recorded in 2021: topics `trade` and `orderBookL2_25`.

Quantities are contracts of 1 USD, not base currency: good for replaying, not for the tape.
Source: the recorded frames; Bybit has taken the documentation of this version down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Event, FeedError, MalformedFrame
from crosstape.exchanges.digits import number_text
from crosstape.exchanges.frames import WRONG, Milliseconds, TextId, malformed
from crosstape.exchanges.times import MILLISECOND

_MICROSECOND = 1_000


class _Trade(Struct):
    trade_time_ms: Milliseconds
    symbol: str
    side: Literal["Buy", "Sell"]
    size: msgspec.Raw
    price: msgspec.Raw
    trade_id: TextId


class _Level(Struct):
    """A deleted level has no size."""

    price: str
    symbol: str
    side: Literal["Buy", "Sell"]
    size: int = 0


class _Changes(Struct):
    delete: list[_Level]
    update: list[_Level]
    insert: list[_Level]


class _Frame(Struct):
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw()
    timestamp_e6: int = 0
    success: bool | None = None
    ret_msg: str = ""


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_trades = msgspec.json.Decoder(list[_Trade]).decode
_decode_book = msgspec.json.Decoder(list[_Level] | _Changes).decode


def decode(frame: bytes, time_received: int) -> Sequence[Event]:
    """What a frame of version 2 says. Raises MalformedFrame, FeedError."""
    try:
        raw = _decode_frame(frame)
        if raw.topic.startswith("trade."):
            return [_trade(one, time_received) for one in _decode_trades(raw.data)]
        if raw.topic.startswith("orderBookL2_25."):
            return [_update(raw, _decode_book(raw.data), time_received)]
    except WRONG as error:
        raise malformed(error) from error
    if raw.success is None:
        raise MalformedFrame("schema", f"neither a known topic nor an answer: {raw.topic[:40]}")
    if not raw.success:
        raise FeedError(f"bybit: {raw.ret_msg}")
    return ()


def _trade(raw: _Trade, time_received: int) -> Trade:
    return Trade(
        "bybit",
        raw.symbol,
        raw.trade_id,
        raw.trade_time_ms * MILLISECOND,
        number_text(raw.price),
        number_text(raw.size),
        TakerSide.BUY if raw.side == "Buy" else TakerSide.SELL,
        time_received,
    )


def _update(raw: _Frame, data: list[_Level] | _Changes, time_received: int) -> BookUpdate:
    levels = data if isinstance(data, list) else [*data.delete, *data.update, *data.insert]
    return BookUpdate(
        "bybit",
        raw.topic.partition(".")[2],
        isinstance(data, list),
        _side(levels, "Buy"),
        _side(levels, "Sell"),
        raw.timestamp_e6 * _MICROSECOND,
        time_received,
    )


def _side(levels: list[_Level], side: str) -> list[Level]:
    return [(level.price, str(level.size)) for level in levels if level.side == side]
