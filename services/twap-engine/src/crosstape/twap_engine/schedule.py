"""When a slice runs and how much it takes. Pure: from an order, the time and what is left.

The lots of an order are spread evenly over its slices, and whatever earlier ones did not get (down time, no liquidity,
a price beyond the limit) over those that remain; the last one takes the rest. A slice may start until the next one is
due, the last one for some seconds; then it is missed, for good: nothing runs in a burst, whatever the clock did.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.twap_engine.order import CloseReason as Reason
from crosstape.twap_engine.order import ParentOrder, Progress, SliceResult, Status

EXACT = Context(prec=160)
"""Products and sums of the platform's decimals (20 digits before and 18 after the point) without rounding."""

LAST_NS = 10 * NANOSECONDS
"""How late the last slice, after which none is due, may start: twice what another replica needs to take an order over
(the longest lease, and a beat)."""


class Wait(Struct, frozen=True):
    """Nothing to do until `until` (ns, of the clock that was asked)."""

    until: int


class Run(Struct, frozen=True):
    """Slice `number` runs now."""

    number: int


class Over(Struct, frozen=True):
    """The time of the last slice has passed."""


def next_step(start: int, interval: int, slices: int, next_slice: int, now: int) -> Wait | Run | Over:
    """What an order does at `now`: all times in ns of one clock, by which it started at `start`."""
    if next_slice >= slices or now >= start + (slices - 1) * interval + LAST_NS:
        return Over()
    current = min(slices - 1, (now - start) // interval)
    if current < next_slice:
        return Wait(start + next_slice * interval)
    return Run(current)


def slice_quantity(total: Decimal, left: Decimal, slices: int, slices_left: int, lot: Decimal) -> Decimal:
    """What the first of `slices_left` slices takes of `left`, when `slices` in all share `total`: whole multiples of
    `lot`, and the last one takes everything.

    Undisturbed, no two slices (but for that rest of the last one) differ by more than a lot. What is left beyond the
    plan is spread over the slices left, a lot at a time at least.
    """
    if slices_left == 1:
        return left
    with localcontext(EXACT):
        total_lots, left_lots = int(total // lot), int(left // lot)
    planned, planned_after = (_share(total_lots, number, slices) for number in (slices_left, slices_left - 1))
    behind = max(0, left_lots - planned)
    with localcontext(EXACT):
        return min(left_lots, planned - planned_after + -(-behind // slices_left)) * lot


def _share(lots: int, slices_left: int, slices: int) -> int:
    """How many of `lots` an even schedule has left before the last `slices_left` of its `slices`: to the nearest."""
    return (2 * lots * slices_left + slices) // (2 * slices)


def advance(order: ParentOrder, progress: Progress, result: SliceResult) -> Progress:
    """`progress` after slice `result` ran, and all of it was told (see `events.of_slice`). The last slice closes an
    open order, and so does the last of its quantity; one that was cancelled meanwhile stays so."""
    with localcontext(EXACT):
        filled = progress.filled + result.filled
        notional = progress.notional + sum((fill.notional for fill in result.fills), Decimal())
        fees = progress.fees + sum((fill.fee for fill in result.fills), Decimal())
        benchmark = progress.benchmark + result.benchmark
    next_slice = result.number + 1
    is_complete = filled == order.total_quantity
    status, close_reason = progress.status, progress.close_reason
    if status is Status.OPEN and (is_complete or next_slice >= order.slices):
        status, close_reason = Status.CLOSED, Reason.COMPLETED if is_complete else Reason.EXPIRED
    return Progress(
        status=status,
        close_reason=close_reason,
        next_slice=next_slice,
        slices_run=progress.slices_run + 1,
        filled=filled,
        notional=notional,
        fees=fees,
        arrival_price=progress.arrival_price if progress.arrival_price is not None else result.mid_price,
        benchmark=benchmark,
        events=progress.events + 1 + len(result.fills) + (status is not progress.status),
    )
