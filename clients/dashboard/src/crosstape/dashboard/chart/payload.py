"""What the chart is given: exact numbers become floats here, as they are drawn and never stored. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crosstape.client import Bar, Order
from crosstape.dashboard.bars import cvd_of
from crosstape.dashboard.intervals import DAY, open_of, seconds_of
from crosstape.dashboard.market import MarketState
from crosstape.dashboard.words import places_of

TAIL_BARS = 40
_PRECISION_BARS = 50

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Have:
    """What the browser's chart says it has: `key` of the bars, and the bar before which it wants older ones."""

    key: str = ""
    older_than: int | None = None

    @classmethod
    def of(cls, value: Any) -> Have:
        """From the component's value, which is None before it spoke."""
        if not isinstance(value, dict):
            return cls()
        older = value.get("older_than")
        return cls(str(value.get("have") or ""), older if isinstance(older, int) else None)


def key_of(state: MarketState) -> str:
    """Names one state of the older bars: a chart that has them needs only the newest ones."""
    market = state.market
    return f"{market.exchange}|{market.symbol}|{market.interval}|{state.version}"


def payload(state: MarketState, orders: Sequence[Order], have: Have) -> Payload:
    """Every bar, or only the newest where the chart has the others; fills and benchmarks of `orders`."""
    key = key_of(state)
    is_whole = have.key != key
    sums = cvd_of(state.bars, state.cvd, state.market.interval)
    first = 0 if is_whole else max(0, len(state.bars) - TAIL_BARS)
    rows = [_row(bar, total) for bar, total in zip(state.bars[first:], sums[first:], strict=True)]
    earliest = state.bars[0].timestamp if state.bars else 0
    shown = [order for order in orders if order.executions]
    return {
        "bars_key": key,
        "market": f"{state.market.exchange}|{state.market.symbol}|{state.market.interval}",
        "label": f"{state.market.symbol} · {state.market.interval} · {state.market.exchange} · UTC",
        "panes": ["", "Volume", "Volume delta", _cvd_name(state)],
        "whole": is_whole,
        "rows": rows,
        "precision": price_places(state.bars),
        "state": state.link.state,
        "markers": [marker for order in shown for marker in markers(order, state, earliest)],
        "benchmarks": [line for order in shown if (line := benchmark(order, state)) is not None],
        "seconds": state.market.interval.endswith("s"),
    }


def price_places(bars: Sequence[Bar]) -> int:
    """The decimal places that the market's recent prices have."""
    return places_of(*(price for bar in bars[-_PRECISION_BARS:] for price in (bar.open, bar.close)))


def markers(order: Order, state: MarketState, earliest: int) -> list[Payload]:
    """The fills of `order`, one mark for those within a bar."""
    within: dict[int, int] = {}
    for execution in order.executions:
        timestamp = open_of(_seconds(execution.timestamp), state.market.interval)
        if timestamp >= earliest:
            within[timestamp] = within.get(timestamp, 0) + 1
    return [{"time": timestamp, "side": order.side, "fills": fills} for timestamp, fills in within.items()]


def benchmark(order: Order, state: MarketState) -> Payload | None:
    """The market's time-weighted average over the order's life, as a line from its start to its end (or now)."""
    if order.benchmark.twap is None or order.created_at is None or not state.bars:
        return None
    interval = state.market.interval
    start = open_of(_seconds(order.created_at), interval)
    last = state.bars[-1].timestamp
    end = min(open_of(_seconds(order.closed_at), interval), last) if order.closed_at else last
    if start < state.bars[0].timestamp or end < start:
        return None
    return {"id": order.order_id, "from": start, "to": end, "price": float(order.benchmark.twap)}


def _cvd_name(state: MarketState) -> str:
    return "CVD (UTC day)" if seconds_of(state.market.interval) < DAY else "CVD (from the first bar)"


def _row(bar: Bar, total: Decimal | None) -> list[float | None]:
    numbers = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.volume_delta)
    return [bar.timestamp, *map(float, numbers), None if total is None else float(total)]


def _seconds(moment: dt.datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp())
