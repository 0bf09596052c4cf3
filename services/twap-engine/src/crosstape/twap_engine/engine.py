"""Engine: holds the open orders that are this replica's, and has their slices run when they are due.

Waiting goes by the steady clock, so an NTP step moves no slice of an order that is held; UTC counts where an order is
taken up. Slices that are due at once run in one transaction, as many as it has time for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from decimal import localcontext

import structlog

from crosstape.common.errors import DatabaseError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.waiting import pause
from crosstape.twap_engine.analytics import slice_slippage
from crosstape.twap_engine.benchmarks import Benchmarks
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.execution.executor import Due, Executor, Held, Outcome
from crosstape.twap_engine.metrics import FILLS, LATENESS, LOST, MISSED, OPEN, SLIPPAGE, UNFILLED
from crosstape.twap_engine.order import CloseReason, ParentOrder, Progress, Status
from crosstape.twap_engine.schedule import EXACT, Over, Run, Wait, next_step
from crosstape.twap_engine.store import replicas
from crosstape.twap_engine.store import slices as store
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.together import together

log = structlog.get_logger(__name__)

SWEPT_AT = 1_000
"""Places in the queue that may be void before it is worth a look."""
LONGEST_WAIT_NS = NANOSECONDS // 2
RETRY_SECONDS = 0.25
DOUBT_NS = 60 * NANOSECONDS
"""A commit that we no longer wait for may wait for its disk so long, and then it holds."""


class Engine:
    """`replica` is the name under which orders are held; `ReplicaLife` gives it another one when that has ended."""

    def __init__(self, database: Database, executor: Executor, benchmarks: Benchmarks, clock: Clock, replica: str):
        self.replica = replica
        self._database = database
        self._executor = executor
        self._benchmarks = benchmarks
        self._clock = clock
        self._held: dict[int, Held] = {}
        self._unsettled: dict[int, ParentOrder] = {}
        self._settle_at = 0
        self._queue: list[tuple[int, int, int]] = []
        self._turns = itertools.count()
        self._wake = asyncio.Event()
        self._must_load = True
        self._load_again: int | None = None
        self._dropped: set[int] | None = None
        """While orders are read anew: what was dropped meanwhile."""

    def hold(self, order: ParentOrder, token: int, progress: Progress) -> None:
        """Work on an order from now on. One that is held already keeps its place in time, and what it saw of the market
        since its last slice."""
        utc = self._clock.utc()  # the first of the two: whatever comes between them, no slice is early
        now = self._clock.steady()
        held = self._held.get(order.id)
        if held is None:
            tracker = self._benchmarks.track(order.markets, now)
            start = now - (utc - order.start)
            held = self._held[order.id] = Held(order, token, start, progress, tracker, tracker.totals)
        elif held.progress.next_slice != progress.next_slice:
            held.mark = held.tracker.totals
        held.token, held.progress = token, progress
        self._queue_up(held, held.due_at(progress.next_slice))
        OPEN.set(len(self._held))
        self._wake.set()

    def _queue_up(self, held: Held, time: int) -> None:
        """Look at the order at `time` (steady, ns), and not when it was to be looked at before."""
        held.turn = next(self._turns)
        heapq.heappush(self._queue, (time, held.turn, held.order.id))

    def drop(self, order_id: int) -> None:
        """It was cancelled: run no more slices of it. What became of one that may be on its way is still found out."""
        if self._dropped is not None:
            self._dropped.add(order_id)
        if (held := self._held.get(order_id)) is not None:
            self._unsettled[order_id] = held.order
            self._release(order_id)

    def _release(self, order_id: int) -> None:
        if (held := self._held.pop(order_id, None)) is not None:
            self._benchmarks.release(held.tracker)
        OPEN.set(len(self._held))

    def load(self) -> None:
        """Read anew, soon, which orders are ours."""
        self._must_load = True
        self._wake.set()

    def doubt(self) -> None:
        """Orders of ours that we were not told of may be in the database, or get there yet: read anew now and later."""
        self._load_again = self._clock.steady() + DOUBT_NS
        self.load()

    async def run(self, stop: asyncio.Event) -> None:
        """Run slices until `stop`. That the database cannot be asked is said once, until it could be again."""
        is_interrupted = False
        while not stop.is_set():
            self._wake.clear()
            try:
                worked = await self.step()
            except DatabaseError as error:
                # Whether the transaction was committed is not known either: the database will tell.
                if not is_interrupted:
                    log.warning("slices_interrupted", error=error.error_code)
                is_interrupted = self._must_load = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            is_interrupted = False
            if not worked:
                await pause(self._wake, self._idle_seconds())

    async def step(self) -> bool:
        """Do what is due now; whether there was anything. Raises DatabaseError."""
        if self._load_again is not None and self._load_again <= self._clock.steady():
            self._load_again, self._must_load = None, True
        if self._must_load:
            self._must_load = False
            await self._load()
        await self._settle()
        due, over = self._due()
        if due:
            await self._run(due)
        if over:
            await self._expire(over)
        return bool(due or over)

    async def _load(self) -> None:
        """Hold what the database says is ours, and nothing else."""
        before = set(self._held)
        dropped = self._dropped = set()
        try:
            async with self._database.reading() as connection:
                ours = await replicas.owned(connection, self.replica)
        finally:
            self._dropped = None
        accepted_meanwhile = self._held.keys() - before
        still_open = {order.id for order, _, progress in ours if progress.status is Status.OPEN}
        for order_id in before & self._held.keys() - still_open:
            self._release(order_id)
        for order, token, progress in ours:
            if progress.status is not Status.OPEN or order.id in dropped:
                self._unsettled[order.id] = order
            elif order.id not in accepted_meanwhile:
                self.hold(order, token, progress)
        self._sweep()

    def _sweep(self) -> None:
        """Leave out of the queue what was to be looked at before: reading anew queues every order up again."""
        if len(self._queue) > 2 * len(self._held) + SWEPT_AT:
            turns = {held.turn for held in self._held.values()}
            self._queue = [one for one in self._queue if one[1] in turns]
            heapq.heapify(self._queue)

    async def _settle(self) -> None:
        """Orders that ended while a slice was on its way."""
        if self._clock.steady() < self._settle_at:
            return
        ended = [*self._unsettled.values()]
        for first in range(0, len(ended), store.AT_ONCE):
            for order in await self._settled(ended[first : first + store.AT_ONCE]):
                self._unsettled.pop(order.id, None)
        self._settle_at = self._clock.steady() + LONGEST_WAIT_NS

    async def _settled(self, orders: list[ParentOrder]) -> list[ParentOrder]:
        """Those of which no slice is on its way any more."""
        are_settled = await together(map(self._executor.settle, orders))
        return [order for order, is_settled in zip(orders, are_settled, strict=True) if is_settled]

    def _due(self) -> tuple[list[Due], list[Held]]:
        """The slices to run now, and the orders whose time is over."""
        due: list[Due] = []
        over: list[Held] = []
        sides: set[store.MarketSideKey] = set()
        now = self._clock.steady()
        while self._queue and self._queue[0][0] <= now:
            if len(due) + len(over) >= store.AT_ONCE or len(sides) >= store.SIDES_AT_ONCE:
                break
            _, turn, order_id = heapq.heappop(self._queue)
            held = self._held.get(order_id)
            if held is None or held.turn != turn:
                continue
            match next_step(held.start, held.order.interval_ns, held.order.slices, held.progress.next_slice, now):
                case Wait(until):
                    self._queue_up(held, until)
                case Run(number):
                    due.append(Due(held, number))
                    sides.update((market, held.order.side) for market in held.order.markets)
                case Over():
                    over.append(held)
        return due, over

    async def _run(self, due: list[Due]) -> None:
        outcomes = await self._executor.run(due)
        began = self._clock.steady() - self._clock.utc()
        for one in due:
            order_id = one.held.order.id
            if order_id not in outcomes:
                LOST.inc()
                self._must_load = True
            elif (outcome := outcomes[order_id]) is None:
                self._queue_up(one.held, self._clock.steady() + LONGEST_WAIT_NS)
            else:
                late = outcome.result.started + began - one.held.due_at(outcome.result.number)
                LATENESS.observe(max(0, late) / NANOSECONDS)
                self._ran(one.held, outcome)

    def _ran(self, held: Held, outcome: Outcome) -> None:
        result = outcome.result
        MISSED.inc(result.number - held.progress.next_slice)
        if result.reason:
            UNFILLED.labels(result.reason).inc()
        if (slippage := slice_slippage(held.order.side, result)) is not None:
            SLIPPAGE.observe(slippage)
        for fill in result.fills:
            FILLS.labels(fill.exchange).inc()
        held.progress = outcome.after
        with localcontext(EXACT):
            held.mark += result.benchmark
        if outcome.after.status is Status.OPEN:
            self._queue_up(held, held.due_at(outcome.after.next_slice))
        else:
            self._release(held.order.id)

    async def _expire(self, over: list[Held]) -> None:
        ended = {order.id for order in await self._settled([held.order for held in over])}
        settled = {held.order.id: held for held in over if held.order.id in ended}
        async with self._database.writing() as connection:
            locked = await store.lock(connection, {number: held.proof for number, held in settled.items()})
            ending = [(settled[number].order, settled[number].progress) for number in locked]
            await store.end(connection, ending, CloseReason.EXPIRED, self._clock.utc())
        for held in over:
            if held.order.id in locked:
                MISSED.inc(held.order.slices - held.progress.next_slice)
                self._release(held.order.id)
            elif held.order.id in settled:  # not ours, cancelled, or a slice that was on its way was written only now
                self._must_load = True
            else:
                self._queue_up(held, self._clock.steady() + LONGEST_WAIT_NS)

    def _idle_seconds(self) -> float:
        wait = self._queue[0][0] - self._clock.steady() if self._queue else LONGEST_WAIT_NS
        return max(0, min(wait, LONGEST_WAIT_NS)) / NANOSECONDS
