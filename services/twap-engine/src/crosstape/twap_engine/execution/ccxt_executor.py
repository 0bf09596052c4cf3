"""Slices at real exchanges: an order that takes what is there at once, on the exchange with the best price.

What goes out is written down first, under an id that is the slice's own, and sent once: by who wrote it down, at once
or never. When the answer is lost, whoever works on the order then (after a crash, in place of a dead replica) asks the
exchange for that id until it is found, or can no longer come: then the slice got nothing, and what it wanted is spread
over the slices left. Sending it again would not be safe: once an order is over, exchanges take its id for another one.
Fills that came of a slice count even when its order was cancelled meanwhile: they are real.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, Executed, OrderRefused, OrderUnknown
from crosstape.twap_engine.execution.executor import Due, Outcome
from crosstape.twap_engine.order import Benchmark, Fill, Market, ParentOrder, Progress, Shortfall, SliceResult
from crosstape.twap_engine.schedule import EXACT, advance
from crosstape.twap_engine.settings import Limits
from crosstape.twap_engine.store import sent as store
from crosstape.twap_engine.store import slices
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.sent import Sent

log = structlog.get_logger(__name__)

FRESH_NS = NANOSECONDS
"""An order goes out so soon after we made sure that it is ours, or not at all."""
UNKNOWN_NS = 20 * NANOSECONDS
"""What an exchange does not know for so long, it never got: the sending took FRESH_NS and PLACING_SECONDS at most, and
what is under way or in a queue of the exchange after that is refused there as too old (ccxt allows ten seconds)."""
NOTHING = Executed(is_final=True, filled=Decimal(), average=Decimal(), fee=Decimal())
POLLS, POLL_SECONDS = 20, 0.25


class CcxtExecutor:
    """`clients` by exchange; an order is only filled where there is one."""

    def __init__(
        self, database: Database, books: Books, clients: Mapping[str, CcxtClient], limits: Limits, clock: Clock
    ):
        self._database = database
        self._books = books
        self._clients = clients
        self._limits = limits
        self._clock = clock
        self._unknown_since: dict[Sent, int] = {}

    async def run(self, due: Sequence[Due]) -> Mapping[int, Outcome | None]:
        """See Executor."""
        outcomes = await asyncio.gather(*map(self._run, due))
        return {one.held.order.id: outcome for one, (is_ours, outcome) in zip(due, outcomes, strict=True) if is_ours}

    async def _run(self, due: Due) -> tuple[bool, Outcome | None]:
        """Whether the order is still ours, and what a slice came to if that is known: the one that is due, or an
        earlier one that is still on its way."""
        held, order = due.held, due.held.order
        if not await self._are_ready(order):
            return True, None
        mid, totals = held.tracker.read(self._books, self._clock.steady())
        with localcontext(EXACT):
            benchmark = totals - held.mark
        async with self._database.writing() as connection:
            if order.id not in await slices.lock(connection, {order.id: held.proof}):
                return False, None
            one = await store.on_its_way(connection, order.id)
            is_new = one is None
            if one is None:
                before, quantity = held.progress, due.quantity
                planned: Sent | Shortfall = self._plan(order, due.number, quantity, before, mid)
                if isinstance(planned, Sent):
                    planned = await self._reserve(connection, planned)
                if not isinstance(planned, Sent):
                    result = self._result(order, due.number, quantity, (), planned, mid, benchmark)
                    ran = slices.Ran(order, before, advance(order, before, result), result)
                    await slices.write(connection, [ran])
                    return True, Outcome(result, ran.after)
                one = planned
            fresh = self._clock.steady()
        if is_new:
            return True, await self._send(order, one, fresh, benchmark)
        return True, await self._look_for(order, one, Benchmark())

    async def _are_ready(self, order: ParentOrder) -> bool:
        """Whether what is known of the order's exchanges is enough to send something."""
        for market in order.markets:
            if (client := self._clients.get(market.exchange)) is None:
                continue
            try:
                await client.prepare()
            except ExchangeError as error:
                place = {"exchange": market.exchange, "symbol": market.symbol, "order": order.id}
                log.warning("exchange_away", **place, error=error.message)
                return False
        return True

    async def _reserve(self, connection: AsyncConnection, planned: Sent) -> Sent | Shortfall:
        """Count it against its day and note that it goes out, if the day's limit allows it."""
        day = _day(planned.started)
        with localcontext(EXACT):
            if await store.lock_day(connection, day) + planned.reserved > self._limits.day:
                return Shortfall.DAY_LIMIT
        await store.add_to_day(connection, day, planned.reserved)
        await store.note(connection, planned)
        return planned

    def _plan(
        self, order: ParentOrder, number: int, quantity: Decimal, before: Progress, mid: Decimal | None
    ) -> Sent | Shortfall:
        """What to send where, or why nothing."""
        now = self._clock.steady()
        touches = [
            (touch[1] if order.side.sign > 0 else touch[0], market)
            for market in order.markets
            if market.exchange in self._clients
            and (book := self._books.tradable(market, now)) is not None
            and (touch := book.touch) is not None
        ]
        if not touches:
            return Shortfall.NO_LIVE_BOOK
        price, market = min(touches, key=lambda found: (found[0] * order.side.sign, found[1]))
        if price * order.side.sign > order.limit_price * order.side.sign:
            return Shortfall.PRICE_BEYOND_LIMIT
        quantity, limit = self._clients[market.exchange].rounded(market.symbol, order.side, quantity, order.limit_price)
        if not quantity:
            return Shortfall.BELOW_LOT
        with localcontext(EXACT):
            reserved = quantity * max(limit, price)
            if before.notional + reserved > self._limits.order:
                return Shortfall.ORDER_LIMIT
        started = self._clock.utc()
        return Sent(order.id, number, started, market.exchange, market.symbol, quantity, limit, reserved, mid)

    async def settle(self, order: ParentOrder) -> bool:
        """See Executor."""
        async with self._database.reading() as connection:
            one = await store.on_its_way(connection, order.id)
        return one is None or await self._look_for(order, one, Benchmark()) is not None

    async def _send(self, order: ParentOrder, one: Sent, fresh: int, benchmark: Benchmark) -> Outcome | None:
        """Send what was noted, and write what came of it; None while that is not known. It is ours since `fresh`."""
        client = self._clients[one.exchange]
        if self._clock.steady() - fresh > FRESH_NS:
            return await self._write(order, one, NOTHING, Shortfall.NOT_SENT, benchmark)
        try:
            await client.place(one.symbol, order.side, one.quantity, one.limit_price, one.client_order_id)
        except OrderRefused as error:
            log.warning("slice_refused", **_place(one), error=error.message)
            return await self._write(order, one, NOTHING, Shortfall.REFUSED, benchmark)
        except ExchangeError as error:
            log.warning("slice_unknown", **_place(one), error=error.message)
            return None
        return await self._look_for(order, one, benchmark)

    async def _look_for(self, order: ParentOrder, one: Sent, benchmark: Benchmark) -> Outcome | None:
        """Write what came of a slice that was sent, or may have been; None while that is not known."""
        client = self._clients.get(one.exchange)
        if client is None:
            log.error("exchange_without_client", **_place(one))
            return None
        try:
            for _ in range(POLLS):
                executed = await client.find(one.symbol, one.client_order_id)
                if executed.is_final:
                    reason = "" if executed.filled == one.quantity else Shortfall.NO_LIQUIDITY
                    return await self._write(order, one, executed, reason, benchmark)
                await asyncio.sleep(POLL_SECONDS)
        except OrderUnknown:
            now = self._clock.steady()
            if now - self._unknown_since.setdefault(one, now) > UNKNOWN_NS:
                log.warning("slice_not_found", **_place(one))
                return await self._write(order, one, NOTHING, Shortfall.NOT_FOUND, benchmark)
        except ExchangeError as error:
            log.warning("slice_unknown", **_place(one), error=error.message)
        return None

    async def _write(
        self, order: ParentOrder, one: Sent, executed: Executed, reason: str, benchmark: Benchmark
    ) -> Outcome | None:
        self._unknown_since.pop(one, None)
        market = Market(one.exchange, one.symbol)
        fill = Fill(market.exchange, market.symbol, executed.average, executed.filled, executed.fee, "")
        fills = (fill,) if executed.filled else ()
        result = self._result(order, one.number, one.quantity, fills, reason, one.mid_price, benchmark)
        result = msgspec.structs.replace(result, started=one.started)
        async with self._database.writing() as connection:
            before = await store.forget(connection, one)
            if before is None:
                return None
            after = advance(order, before, result)
            await slices.write(connection, [slices.Ran(order, before, after, result)])
            with localcontext(EXACT):
                unspent = one.reserved - executed.average * executed.filled
            await store.add_to_day(connection, _day(one.started), -unspent)
        return Outcome(result, after)

    def _result(
        self,
        order: ParentOrder,
        number: int,
        quantity: Decimal,
        fills: tuple[Fill, ...],
        reason: str,
        mid: Decimal | None,
        benchmark: Benchmark,
    ) -> SliceResult:
        due = order.start + number * order.interval_ns
        return SliceResult(number, due, self._clock.utc(), quantity, fills, reason, mid, benchmark)


def _place(one: Sent) -> dict[str, Any]:
    """What the log calls a slice."""
    return {"exchange": one.exchange, "symbol": one.symbol, "order": one.parent, "slice": one.number}


def _day(nanoseconds: int) -> str:
    return dt.datetime.fromtimestamp(nanoseconds // NANOSECONDS, dt.UTC).date().isoformat()
