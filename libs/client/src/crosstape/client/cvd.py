"""Cumulative volume delta of one market: /ws/v1/cvd. What it says begins anew with every snapshot."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec import Struct

from crosstape.client.bars import Bar, Interval
from crosstape.client.calls import path
from crosstape.client.events import BarClose, BarRevision, Refused, Unknown
from crosstape.client.feed import Feed
from crosstape.client.frame import Frame, Head, decode, event_of, refusal
from crosstape.client.times import Time, time_text
from crosstape.client.trades import TakerSide
from crosstape.client.transport import Transport


class CvdSnapshot(Struct, frozen=True, kw_only=True):
    """Everything up to `offset`: the running sum (None while not known) and the open bar (None before its first trade).

    It comes first, and again after a lost connection: the ticks go on from the newest one.
    """

    exchange: str
    symbol: str
    cvd: Decimal | None
    bar: Bar | None
    offset: int
    interval: str
    anchor: str


class CvdTick(Struct, frozen=True, kw_only=True):
    """A trade, what it adds (taker buys count up, taker sells down), and the running sum with it."""

    exchange: str
    symbol: str
    trade_id: int | str
    timestamp: Decimal
    price: Decimal
    quantity: Decimal
    side: TakerSide
    volume_delta: Decimal
    cvd: Decimal | None
    offset: int


CvdEvent = CvdSnapshot | CvdTick | BarClose | BarRevision | Unknown


class _Conversation:
    def opening(self) -> list[dict[str, Any]]:
        return []

    def again(self) -> list[dict[str, Any]]:
        return []

    def read(self, frame: Frame) -> CvdEvent | Refused | None:
        head = decode(frame, Head)
        if head.type == "tick":
            return decode(frame, CvdTick)
        if head.type == "snapshot":
            return decode(frame, CvdSnapshot)
        if head.type == "error":
            return refusal(head)
        event = event_of(head.type, frame)
        return event if isinstance(event, BarClose | BarRevision | Unknown) else None


CvdFeed = Feed[CvdEvent]


def cvd_feed(
    transport: Transport, exchange: str, symbol: str, *, interval: Interval, anchor: Time, packed: bool
) -> CvdFeed:
    """The stream of one market."""
    query = {"interval": interval, "anchor": time_text(anchor)}
    return Feed(transport, path("ws", "v1", "cvd", exchange, symbol), _Conversation(), query=query, packed=packed)
