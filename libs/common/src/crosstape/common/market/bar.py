"""Bar: open, high, low, close, volume and volume delta over one interval, and the fold that defines it."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from decimal import Context, Decimal, localcontext

from msgspec import Struct

from crosstape.common.market.decimals import decimal_text
from crosstape.common.market.trade import Trade, TradeId

NANOSECONDS = 1_000_000_000

_EXACT = Context(prec=120)
"""Sums of 38-digit quantities without rounding; decimal's own default keeps 28 digits."""


class Interval(enum.StrEnum):
    """The lengths a bar can have. Bars open on UTC multiples; weeks on Monday, months on the first."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"
    MO1 = "1M"

    @property
    def seconds(self) -> int:
        """Length in seconds; a month has none of its own and answers with 31 days, its longest."""
        return _SECONDS[self]

    def open_time(self, second: int) -> int:
        """Open (Unix s) of the bar that holds `second`."""
        if self is Interval.MO1:
            day = dt.datetime.fromtimestamp(second, dt.UTC)
            return int(day.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())
        if self is Interval.W1:
            return (second - _MONDAY) // 604_800 * 604_800 + _MONDAY
        return second - second % self.seconds

    def close_time(self, open_time: int) -> int:
        """End (Unix s, exclusive) of the bar that opens at `open_time`."""
        if self is Interval.MO1:
            return self.open_time(open_time + 31 * 86_400)
        return open_time + self.seconds


_MONDAY = 4 * 86_400
_SECONDS = {
    Interval.S1: 1,
    Interval.M1: 60,
    Interval.M3: 180,
    Interval.M5: 300,
    Interval.M15: 900,
    Interval.M30: 1_800,
    Interval.H1: 3_600,
    Interval.H2: 7_200,
    Interval.H4: 14_400,
    Interval.H6: 21_600,
    Interval.H8: 28_800,
    Interval.H12: 43_200,
    Interval.D1: 86_400,
    Interval.D3: 3 * 86_400,
    Interval.W1: 7 * 86_400,
    Interval.MO1: 31 * 86_400,
}


class BarStatus(enum.StrEnum):
    """`provisional` while the bar may still grow, `final` once published, `revised` once a late trade changed it."""

    PROVISIONAL = "provisional"
    FINAL = "final"
    REVISED = "revised"


class Bar(Struct, frozen=True, array_like=True, gc=False):
    """One bar over [open_time, open_time + interval), a pure function of the deduplicated tape.

    Prices in quote, volumes in base, as canonical decimal text. `volume_delta` = taker-buy volume - taker-sell volume;
    `volume_unknown` is the volume whose side the exchange did not tell: in `volume`, not in the delta. `open_time` is
    Unix seconds. `revision` counts how often the bar changed after it was first published.
    Invariants: low <= open, close <= high; |volume_delta| + volume_unknown <= volume; trades >= 1.
    """

    exchange: str
    symbol: str
    interval: str
    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    volume_delta: str
    volume_unknown: str
    trades: int
    first_trade_id: TradeId
    last_trade_id: TradeId
    status: BarStatus = BarStatus.FINAL
    revision: int = 0


def trade_order(trade: Trade) -> tuple[int, bool, TradeId]:
    """What orders the tape: trade time, then trade id (numbered ids before texts, each in its own order)."""
    return (trade.time, isinstance(trade.trade_id, str), trade.trade_id)


def fold_bars(trades: Iterable[Trade], interval: Interval) -> list[Bar]:
    """The bars of `trades`, oldest first: the definition that every stored bar must equal.

    Any order and any repeats of the trades give the same bars; of copies of one trade that differ, `trades` must hold
    the one that counts. Used where the truth is checked, not in the hot path.
    """
    unique = {(t.exchange, t.symbol, t.trade_id): t for t in trades}
    buckets: dict[tuple[str, str, int], list[Trade]] = {}
    for trade in unique.values():
        open_time = interval.open_time(trade.time // NANOSECONDS)
        buckets.setdefault((trade.exchange, trade.symbol, open_time), []).append(trade)
    return [
        _fold(exchange, symbol, interval, open_time, sorted(bucket, key=trade_order))
        for (exchange, symbol, open_time), bucket in sorted(buckets.items())
    ]


def _fold(exchange: str, symbol: str, interval: Interval, open_time: int, ordered: list[Trade]) -> Bar:
    prices = [Decimal(t.price) for t in ordered]
    signed = [(Decimal(t.quantity), int(t.side)) for t in ordered]
    with localcontext(_EXACT):
        volume = sum((q for q, _ in signed), Decimal())
        delta = sum((q * s for q, s in signed), Decimal())
        unknown = sum((q for q, s in signed if s == 0), Decimal())
    return Bar(
        exchange=exchange,
        symbol=symbol,
        interval=interval.value,
        open_time=open_time,
        open=decimal_text(prices[0]),
        high=decimal_text(max(prices)),
        low=decimal_text(min(prices)),
        close=decimal_text(prices[-1]),
        volume=decimal_text(volume),
        volume_delta=decimal_text(delta),
        volume_unknown=decimal_text(unknown),
        trades=len(ordered),
        first_trade_id=ordered[0].trade_id,
        last_trade_id=ordered[-1].trade_id,
    )
