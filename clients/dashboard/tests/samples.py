"""Bars and orders as the SDK gives them, for tests of what is made of them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal

from crosstape.client import Bar, Benchmark, Execution, Order
from crosstape.dashboard.intervals import DAY

NOON = 20_000 * DAY + 12 * 3_600


def bar(
    timestamp: int, delta: str = "0", *, status: Literal["provisional", "final"] = "final", close: str = "10"
) -> Bar:
    price = Decimal(close)
    return Bar(
        timestamp=timestamp,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=abs(Decimal(delta)),
        volume_delta=Decimal(delta),
        trades=1,
        status=status,
        revision=0,
    )


def order(*seconds: int, twap: str | None = "10.5", closed: int | None = None) -> Order:
    def moment(second: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(NOON + second, dt.UTC).replace(tzinfo=None)

    return Order(
        order_id="twap_1",
        username="alice",
        symbol="BTC-USD",
        side="buy",
        duration=600,
        interval=60,
        total_quantity=Decimal(1),
        limit_price=Decimal(11),
        status="open" if closed is None else "closed",
        executions=tuple(Execution(price=Decimal(10), quantity=Decimal("0.1"), timestamp=moment(s)) for s in seconds),
        benchmark=Benchmark(twap=None if twap is None else Decimal(twap)),
        created_at=moment(0),
        closed_at=None if closed is None else moment(closed),
    )
