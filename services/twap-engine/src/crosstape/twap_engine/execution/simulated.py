"""The default executor: slices walk the live books and take simulated liquidity, all in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext

from crosstape.common.market.bar import NANOSECONDS
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.execution.executor import Due, Outcome
from crosstape.twap_engine.ladder import MarketSide, walk
from crosstape.twap_engine.order import Market, ParentOrder, Shortfall, Side, SliceResult
from crosstape.twap_engine.schedule import EXACT, advance
from crosstape.twap_engine.store import slices as store
from crosstape.twap_engine.store.database import IDLE_MS, Database

Sides = dict[tuple[Market, Side], MarketSide]

LONGEST_NS = IDLE_MS * NANOSECONDS // 1_000 // 4
"""For so long books are walked in one transaction, and the slices that are left wait for another one: however many
orders sweep deep books, PostgreSQL ends none, which would only begin again."""


class SimulatedExecutor:
    """`fees` are the exchanges' taker fees as fractions of the notional; none where nothing is set."""

    def __init__(self, database: Database, books: Books, fees: Mapping[str, Decimal], clock: Clock):
        self._database = database
        self._books = books
        self._fees = fees
        self._clock = clock

    def check(self, markets: Sequence[Market]) -> None:
        """Every market has a book, or will have one."""

    async def run(self, due: Sequence[Due]) -> Mapping[int, Outcome | None]:
        """See Executor. The transaction holds the orders, then the levels of all their markets."""
        async with self._database.writing() as connection:
            locked = await store.lock(connection, {one.held.order.id: one.held.proof for one in due})
            ours = [one for one in due if one.held.order.id in locked]
            keys = {(market, one.held.order.side) for one in ours for market in one.held.order.markets}
            entries = await store.lock_liquidity(connection, keys)
            now = self._clock.steady()
            sides: Sides = {}
            for key in entries:
                if (book := self._books.tradable(key[0], now)) is not None:
                    sides[key] = MarketSide(book, key[1], entries[key], self._fees.get(key[0].exchange, Decimal()))
            utc = self._clock.utc()
            ran: list[store.Ran] = []
            for one in ours:
                ran.append(self._run(one, sides, now, utc))
                if self._clock.steady() - now > LONGEST_NS:
                    break
            await store.write(connection, ran)
            taken = {key: side.prune() for key, side in sides.items() if side.is_touched}
            await store.write_liquidity(connection, taken)
        outcomes: dict[int, Outcome | None] = {one.held.order.id: None for one in ours}
        return outcomes | {one.order.id: Outcome(one.result, one.after) for one in ran}

    def _run(self, due: Due, sides: Sides, now: int, utc: int) -> store.Ran:
        held, order, before = due.held, due.held.order, due.held.progress
        mid, totals = held.tracker.read(self._books, now)
        quantity = due.quantity
        walked = [side for market in order.markets if (side := sides.get((market, order.side))) is not None]
        fills, reason = walk(walked, quantity, order.limit_price)
        with localcontext(EXACT):
            benchmark = totals - held.mark
        result = SliceResult(
            number=due.number,
            due=order.start + due.number * order.interval_ns,
            started=utc,
            quantity=quantity,
            fills=tuple(fills),
            reason=reason or ("" if quantity else Shortfall.BELOW_LOT),
            mid_price=mid,
            benchmark=benchmark,
        )
        return store.Ran(order, before, advance(order, before, result), result)

    async def settle(self, order: ParentOrder) -> bool:
        """Nothing is ever on its way: a slice and its fills are one transaction."""
        return True
