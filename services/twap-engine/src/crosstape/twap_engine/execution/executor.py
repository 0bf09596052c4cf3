"""Executor: what runs the slices that are due, exactly once, and writes what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Protocol

from crosstape.twap_engine.benchmarks import Tracker
from crosstape.twap_engine.order import Benchmark, ParentOrder, Progress, SliceResult
from crosstape.twap_engine.schedule import EXACT, slice_quantity
from crosstape.twap_engine.store.slices import Proof


@dataclass(slots=True)
class Held:
    """An open order that this replica works on. `token` proves it; `start` is the order's start by our steady clock.

    `progress` is how far it has come, `mark` the market's sums when its last slice ran, `turn` its newest place in the
    engine's queue.
    """

    order: ParentOrder
    token: int
    start: int
    progress: Progress
    tracker: Tracker
    mark: Benchmark
    turn: int = 0

    @property
    def proof(self) -> Proof:
        return Proof(self.token, self.progress.next_slice)


@dataclass(frozen=True, slots=True)
class Due:
    """Slice `number` of an order is to run now."""

    held: Held
    number: int

    @property
    def at(self) -> int:
        """When it was due (steady, ns)."""
        return self.held.start + self.number * self.held.order.interval_ns

    @property
    def quantity(self) -> Decimal:
        """What it takes of what is left."""
        order = self.held.order
        with localcontext(EXACT):
            left = order.total_quantity - self.held.progress.filled
        return slice_quantity(order.total_quantity, left, order.slices, order.slices - self.number, order.lot)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a slice came to, and how far its order is now."""

    result: SliceResult
    after: Progress


class Executor(Protocol):
    """Whatever it does, a slice has an effect once, whoever runs it again after a crash."""

    async def run(self, due: Sequence[Due]) -> Mapping[int, Outcome | None]:
        """Run slices, the first of the list first; outcomes by order id. None means that it is not known yet and must
        be tried again; an order that is missing is no longer ours or has ended.

        Raises DatabaseError: then nothing is known, and the orders must be read anew.
        """

    async def settle(self, order: ParentOrder, proof: Proof) -> bool:
        """Find out what became of a slice that was on its way when somebody stopped; whether nothing is any more.
        Raises DatabaseError."""
