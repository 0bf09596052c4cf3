"""What an order cost against what the market did. Pure: from an order and its progress to figures.

Ratios are rounded to ten places, basis points to four; everything else is exact. Slippage is positive where the order
did worse than its benchmark: a buy above it, a sell below.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from msgspec import Struct

from crosstape.twap_engine.order import Benchmark, CloseReason, ParentOrder, Progress, Side, SliceResult, Status
from crosstape.twap_engine.schedule import EXACT

_RATIO = Decimal("1e-10")
_BASIS_POINT = Decimal("1e-4")


class Share(Struct, frozen=True):
    """What one exchange filled of an order; `share` is its part of the filled quantity."""

    exchange: str
    quantity: Decimal
    notional: Decimal
    fees: Decimal
    share: Decimal


def ratio(part: Decimal, whole: Decimal) -> Decimal | None:
    """part / whole; None where there is no whole."""
    if not whole:
        return None
    with localcontext(EXACT):
        return (part / whole).quantize(_RATIO, ROUND_HALF_EVEN)


def average_price(progress: Progress) -> Decimal | None:
    """What a unit cost or brought, without fees."""
    return ratio(progress.notional, progress.filled)


def market_twap(benchmark: Benchmark) -> Decimal | None:
    """The mid price averaged over the time in which it was seen."""
    return ratio(benchmark.mid_time, benchmark.seconds)


def market_vwap(benchmark: Benchmark) -> Decimal | None:
    """The average price of the market's trades by their volume."""
    return ratio(benchmark.notional, benchmark.volume)


def slippage_bps(order: ParentOrder, progress: Progress, benchmark: Decimal | None) -> Decimal | None:
    """How much worse the average price is than `benchmark`, in basis points of it."""
    if not progress.filled or not benchmark:
        return None
    with localcontext(EXACT):
        worse = (progress.notional / progress.filled - benchmark) * order.side.sign
        return (worse / benchmark * 10_000).quantize(_BASIS_POINT, ROUND_HALF_EVEN)


def slice_slippage(side: Side, result: SliceResult) -> float | None:
    """How much worse than the mid at its start a slice was filled, as a part of it; an estimate for a metric."""
    if not result.fills or not result.mid_price:
        return None
    mid = float(result.mid_price)
    paid = sum(float(fill.price) * float(fill.quantity) for fill in result.fills) / float(result.filled)
    return (paid - mid) * side.sign / mid


def slices_passed(order: ParentOrder, progress: Progress, now: int) -> int:
    """How many slices have run or been missed by `now` (UTC, ns)."""
    if progress.status is Status.OPEN:
        return max(progress.next_slice, min(order.slices, (now - order.start) // order.interval_ns))
    return order.slices if progress.close_reason is CloseReason.EXPIRED else progress.next_slice


def venue_split(fills: Iterable[tuple[str, Decimal, Decimal, Decimal]]) -> list[Share]:
    """From (exchange, price, quantity, fee) of every fill, the exchange that filled most first."""
    sums: dict[str, tuple[Decimal, Decimal, Decimal]] = {}
    with localcontext(EXACT):
        for exchange, price, quantity, fee in fills:
            old = sums.get(exchange, (Decimal(), Decimal(), Decimal()))
            sums[exchange] = (old[0] + quantity, old[1] + price * quantity, old[2] + fee)
        total = sum((quantity for quantity, _, _ in sums.values()), Decimal())
    shares = [Share(exchange, *of_it, ratio(of_it[0], total) or Decimal()) for exchange, of_it in sums.items()]
    return sorted(shares, key=lambda share: (-share.quantity, share.exchange))
