"""Executor: what runs the slices that are due, exactly once, and writes what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Protocol

from crosstape.twap_engine.benchmarks import Tracker
from crosstape.twap_engine.order import Benchmark, Market, ParentOrder, Progress, SliceResult
from crosstape.twap_engine.schedule import EXACT, slice_quantity
from crosstape.twap_engine.store.slices import Proof


@dataclass(slots=True)
class Held:
    """An open order that this replica works on. `token` proves it; `start` is the order's start by our steady clock.

    `progress` is how far it has come, `mark` the market's sums that its slices have had, `turn` its newest place in the
    engine's queue.
    """

    order: ParentOrder
    token: int
    start: int
    progress: Progress
    tracker: Tracker
    mark: Benchmark
    turn: int = 0

    def due_at(self, number: int) -> int:
        """When slice `number` is due (steady, ns)."""
        return self.start + number * self.order.interval_ns

    @property
    def proof(self) -> Proof:
        return Proof(self.token, self.progress.next_slice)


@dataclass(frozen=True, slots=True)
class Due:
    """Slice `number` of an order is to run now."""

    held: Held
    number: int

    @property
    def quantity(self) -> Decimal:
        """What it takes of what is left."""
        order = self.held.order
        with localcontext(EXACT):
            left = order.total_quantity - self.held.progress.filled
        return slice_quantity(order.total_quantity, left, order.slices, order.slices - self.number, order.lot)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a slice came to, and how far its order is now. It may be an earlier slice than the one that was due: one of
    which it was not known before."""

    result: SliceResult
    after: Progress


class Executor(Protocol):
    """Whatever it does, a slice has an effect once, whoever runs it again after a crash."""

    def check(self, markets: Sequence[Market]) -> None:
        """Refuse an order that could be filled in none of `markets`. Raises ValidationFailed."""

    async def run(self, due: Sequence[Due]) -> Mapping[int, Outcome | None]:
        """Run slices, the first of the list first; outcomes by order id. None means that it is not known yet and must
        be tried again; an order that is missing is no longer ours or has ended.

        Raises DatabaseError: then nothing is known, and the orders must be read anew.
        """

    async def settle(self, order: ParentOrder) -> bool:
        """Find out what became of a slice that is on its way, and write it; whether nothing is any more. Raises
        DatabaseError."""
