"""What an order cost against what the market did. Pure: from an order and its progress to figures.

Prices are rounded to the platform's 18 places, shares to ten, basis points to four; the rest is exact. Slippage is
positive where the order did worse than its benchmark: a buy above it, a sell below.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from msgspec import Struct

from crosstape.common.market.decimals import SCALE
from crosstape.twap_engine.order import Benchmark, CloseReason, ParentOrder, Progress, Side, SliceResult, Status
from crosstape.twap_engine.schedule import EXACT, Over, Run, Wait, next_step

_PRICE = Decimal(1).scaleb(-SCALE)
_SHARE = Decimal("1e-10")
_BASIS_POINTS = Decimal("1e-4")


class Share(Struct, frozen=True):
    """What one exchange filled of an order; `share` is its part of the filled quantity."""

    exchange: str
    quantity: Decimal
    notional: Decimal
    fees: Decimal
    share: Decimal


def share_of(part: Decimal, whole: Decimal) -> Decimal | None:
    """part / whole; None where there is no whole."""
    return _ratio(part, whole, _SHARE)


def _ratio(part: Decimal, whole: Decimal, step: Decimal) -> Decimal | None:
    if not whole:
        return None
    with localcontext(EXACT):
        return (part / whole).quantize(step, ROUND_HALF_EVEN)


def average_price(progress: Progress) -> Decimal | None:
    """What a unit cost or brought, without fees."""
    return _ratio(progress.notional, progress.filled, _PRICE)


def market_twap(benchmark: Benchmark) -> Decimal | None:
    """The mid price averaged over the time in which it was seen."""
    return _ratio(benchmark.mid_time, benchmark.seconds, _PRICE)


def market_vwap(benchmark: Benchmark) -> Decimal | None:
    """The average price of the market's trades by their volume."""
    return _ratio(benchmark.notional, benchmark.volume, _PRICE)


def slippage_bps(order: ParentOrder, progress: Progress, benchmark: Decimal | None) -> Decimal | None:
    """How much worse the average price is than `benchmark`, in basis points of it."""
    if not progress.filled or not benchmark:
        return None
    with localcontext(EXACT):
        worse = (progress.notional / progress.filled - benchmark) * order.side.sign
        return (worse / benchmark * 10_000).quantize(_BASIS_POINTS, ROUND_HALF_EVEN)


def slice_slippage(side: Side, result: SliceResult) -> float | None:
    """How much worse than the mid at its start a slice was filled, as a part of it; an estimate for a metric."""
    if not result.fills or not result.mid_price:
        return None
    mid = float(result.mid_price)
    paid = sum(float(fill.price) * float(fill.quantity) for fill in result.fills) / float(result.filled)
    return (paid - mid) * side.sign / mid


def slices_passed(order: ParentOrder, progress: Progress, until: int) -> int:
    """How many slices have run or been missed by `until` (UTC, ns): now, or when a cancelled order ended."""
    if progress.status is Status.CLOSED:
        return order.slices if progress.close_reason is CloseReason.EXPIRED else progress.next_slice
    match next_step(order.start, order.interval_ns, order.slices, progress.next_slice, until):
        case Wait():
            return progress.next_slice
        case Run(number):
            return number
        case Over():
            return order.slices


Sums = dict[str, tuple[Decimal, Decimal, Decimal]]
"""By exchange: quantity, notional and fees."""


def add_fills(sums: Sums, fills: Iterable[tuple[str, Decimal, Decimal, Decimal]]) -> None:
    """Count fills: (exchange, quantity, notional, fee) of each."""
    with localcontext(EXACT):
        for exchange, quantity, notional, fee in fills:
            old = sums.get(exchange, (Decimal(), Decimal(), Decimal()))
            sums[exchange] = (old[0] + quantity, old[1] + notional, old[2] + fee)


def venue_split(sums: Sums) -> list[Share]:
    """What each exchange filled, the one that filled most first."""
    with localcontext(EXACT):
        total = sum((quantity for quantity, _, _ in sums.values()), Decimal())
    shares = [Share(exchange, *of_it, share_of(of_it[0], total) or Decimal()) for exchange, of_it in sums.items()]
    return sorted(shares, key=lambda share: (-share.quantity, share.exchange))
