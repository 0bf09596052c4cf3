"""Rolling up: one bar of shorter ones. Equal to the fold of their trades, because trades are ordered by time first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from crosstape.common.market.bar import Bar, BarStatus, Interval
from crosstape.common.market.decimals import decimal_text
from crosstape.stream_hub.numbers import exact_sum


def roll_up(bars: Sequence[Bar], interval: Interval) -> Bar:
    """The bar of `interval` that `bars`, oldest first and at least one, are parts of; provisional, as they are what is
    known so far."""
    first, last = bars[0], bars[-1]
    return Bar(
        exchange=first.exchange,
        symbol=first.symbol,
        interval=interval.value,
        open_time=interval.open_time(first.open_time),
        open=first.open,
        high=_extreme(max, (bar.high for bar in bars)),
        low=_extreme(min, (bar.low for bar in bars)),
        close=last.close,
        volume=_sum(bar.volume for bar in bars),
        volume_delta=_sum(bar.volume_delta for bar in bars),
        volume_unknown=_sum(bar.volume_unknown for bar in bars),
        trades=sum(bar.trades for bar in bars),
        first_trade_id=first.first_trade_id,
        last_trade_id=last.last_trade_id,
        status=BarStatus.PROVISIONAL,
        revision=sum(bar.revision for bar in bars),
    )


def _extreme(choose: Callable[[Iterable[Decimal]], Decimal], texts: Iterable[str]) -> str:
    return decimal_text(choose(map(Decimal, texts)))


def _sum(texts: Iterable[str]) -> str:
    return decimal_text(exact_sum(map(Decimal, texts)))
