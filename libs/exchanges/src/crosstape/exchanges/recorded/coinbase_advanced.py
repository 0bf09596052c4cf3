"""Coinbase's Advanced Trade socket, as recorded in 2026: channels `market_trades` and `l2_data`.

Not retired, but not used live: the public feed of Coinbase Exchange needs no wrapping and tells every trade singly.
`side` of a trade is the MAKER's; trades of one frame come newest first, and are given oldest first. The first frame of
a product holds its last hundred trades.
Source: docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels (2026-11-24).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from crosstape.common.market.book import BookUpdate, Level
from crosstape.common.market.trade import TakerSide, Trade, trade_id
from crosstape.exchanges.dialect import Event, FeedError
from crosstape.exchanges.frames import WRONG, TextId, malformed
from crosstape.exchanges.times import iso


class _Trade(Struct):
    product_id: str
    trade_id: TextId
    price: str
    size: str
    time: str
    side: Literal["BUY", "SELL"]


class _TradesEvent(Struct):
    trades: list[_Trade]


class _MarketTrades(Struct, tag_field="channel", tag="market_trades"):
    events: list[_TradesEvent]


class _Level(Struct):
    side: Literal["bid", "offer"]
    price_level: str
    new_quantity: str


class _BookEvent(Struct):
    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[_Level]


class _Level2(Struct, tag_field="channel", tag="l2_data"):
    timestamp: str
    events: list[_BookEvent]


class _Subscriptions(Struct, tag_field="channel", tag="subscriptions"):
    """What is subscribed now."""


class _Heartbeats(Struct, tag_field="channel", tag="heartbeats"):
    """Once a second."""


class _Error(Struct):
    type: Literal["error"]
    message: str


_decode_frame = msgspec.json.Decoder(_MarketTrades | _Level2 | _Subscriptions | _Heartbeats).decode
_decode_error = msgspec.json.Decoder(_Error).decode


def decode(frame: bytes, time_received: int) -> Sequence[Event]:
    """What a frame says. Raises MalformedFrame, FeedError."""
    try:
        raw = _decode_frame(frame)
        if isinstance(raw, _MarketTrades):
            return [_trade(one, time_received) for event in raw.events for one in reversed(event.trades)]
        if isinstance(raw, _Level2):
            time = iso(raw.timestamp)
            return [_update(event, time, time_received) for event in raw.events]
    except WRONG as error:
        _check_error(frame)
        raise malformed(error) from error
    return ()


def _check_error(frame: bytes) -> None:
    try:
        raw = _decode_error(frame)
    except WRONG:
        return
    raise FeedError(f"coinbase: {raw.message}")


def _trade(raw: _Trade, time_received: int) -> Trade:
    side = TakerSide.BUY if raw.side == "SELL" else TakerSide.SELL
    time = iso(raw.time)
    return Trade("coinbasepro", raw.product_id, trade_id(raw.trade_id), time, raw.price, raw.size, side, time_received)


def _update(raw: _BookEvent, time: int, time_received: int) -> BookUpdate:
    is_snapshot = raw.type == "snapshot"
    bids, asks = _side(raw, "bid"), _side(raw, "offer")
    return BookUpdate("coinbasepro", raw.product_id, is_snapshot, bids, asks, time, time_received)


def _side(raw: _BookEvent, side: str) -> list[Level]:
    return [(level.price_level, level.new_quantity) for level in raw.updates if level.side == side]
