"""Slices at real exchanges: an order that takes what is there at once, on the exchange with the best price.

What goes out is written down first, under an id that is the slice's own, and sent once: by who wrote it down, at once
or never. When the answer is lost, whoever works on the order then (after a crash, in place of a dead replica) asks the
exchange for that id until it is found, or can no longer come: then the slice got nothing, and what it wanted is spread
over the slices left. Sending it again would not be safe: once an order is over, exchanges take its id for another one.
Fills that came of a slice count even when its order was cancelled meanwhile: they are real.

What an exchange is asked goes on by itself (`calls`); the answer is taken, and written, when its order is worked on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.execution.calls import Listings, Way, find, place, place_of
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, Executed, OrderUnknown
from crosstape.twap_engine.execution.executor import Due, Held, Outcome
from crosstape.twap_engine.order import Benchmark, Fill, Market, ParentOrder, Progress, Shortfall, SliceResult
from crosstape.twap_engine.schedule import EXACT, advance
from crosstape.twap_engine.settings import Limits
from crosstape.twap_engine.store import sent as store
from crosstape.twap_engine.store import slices
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.sent import Sent
from crosstape.twap_engine.together import together

log = structlog.get_logger(__name__)

FRESH_NS = NANOSECONDS
"""An order goes out so soon after we made sure that it is ours, or not at all."""
UNKNOWN_NS = 20 * NANOSECONDS
"""What an exchange does not know for so long, it never got: the sending took FRESH_NS and PLACING_SECONDS at most, and
what is under way or in a queue of the exchange after that is refused there as too old (ccxt allows ten seconds)."""
NOTHING = Executed(is_final=True, filled=Decimal(), average=Decimal(), fee=Decimal())
FORGOTTEN_NS = 60 * NANOSECONDS
"""What is ours is asked for twice a second; a slice that was not for so long is another replica's, or written."""


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
        self._listings = Listings(clients)
        self._ways: dict[int, Way] = {}

    async def run(self, due: Sequence[Due]) -> Mapping[int, Outcome | None]:
        """See Executor."""
        outcomes = await together(map(self._run, due))
        return {one.held.order.id: outcome for one, (is_ours, outcome) in zip(due, outcomes, strict=True) if is_ours}

    async def _run(self, due: Due) -> tuple[bool, Outcome | None]:
        """Whether the order is still ours, and what a slice came to if that is known: the one that is due, or an
        earlier one that is still on its way."""
        held, order = due.held, due.held.order
        ready = await self._listings.ready(order)
        if ready is None:
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
                planned: Sent | Shortfall = self._plan(order, due.number, quantity, before, mid, ready)
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
            return True, await self._send(held, one, fresh, benchmark)
        return True, await self._look_for(order, self._way(one), held)

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
        self,
        order: ParentOrder,
        number: int,
        quantity: Decimal,
        before: Progress,
        mid: Decimal | None,
        ready: set[str],
    ) -> Sent | Shortfall:
        """What to send to which of the exchanges that are `ready`, or why nothing."""
        now = self._clock.steady()
        touches = [
            (touch[1] if order.side.sign > 0 else touch[0], market)
            for market in order.markets
            if market.exchange in ready
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
        return one is None or await self._look_for(order, self._way(one)) is not None

    async def _send(self, held: Held, one: Sent, fresh: int, benchmark: Benchmark) -> Outcome | None:
        """Send what was noted, and write what came of it; None while that is not known. It is ours since `fresh`."""
        way = self._way(one)
        way.held, way.benchmark = held, benchmark
        if self._clock.steady() - fresh > FRESH_NS:
            return await self._write(held.order, one, NOTHING, Shortfall.NOT_SENT, benchmark)
        await way.ask(place(self._clients[one.exchange], held.order, one), self._clock.steady())
        return await self._look_for(held.order, way, held)

    def _way(self, one: Sent) -> Way:
        """What we know of a slice that is on its way, and is wanted to be known now."""
        now = self._clock.steady()
        way = self._ways.get(one.parent)
        if way is None or way.one.number != one.number:
            self._ways = {order: way for order, way in self._ways.items() if now - way.wanted < FORGOTTEN_NS}
            way = self._ways[one.parent] = Way(one)
        way.wanted = now
        return way

    async def _look_for(self, order: ParentOrder, way: Way, held: Held | None = None) -> Outcome | None:
        """Write what came of a slice that was sent, or may have been; None while that is not known."""
        one, client = way.one, self._clients.get(way.one.exchange)
        if client is None:
            log.error("exchange_without_client", **place_of(one))
            return None
        if way.call is None:
            await way.ask(find(client, one), self._clock.steady())
        # Of another time that we held the order, the market's sums are none of its slices' now.
        benchmark = way.benchmark if held is None or held is way.held else Benchmark()
        match way.answer:
            case None:
                return None
            case Shortfall() as refusal:
                return await self._write(order, one, NOTHING, refusal, benchmark)
            case Executed(is_final=True, filled=filled) as executed:
                reason = "" if filled == one.quantity else Shortfall.NO_LIQUIDITY
                return await self._write(order, one, executed, reason, benchmark)
            case OrderUnknown():
                if way.unknown_since is None:
                    way.unknown_since = self._clock.steady()
                if way.asked - way.unknown_since > UNKNOWN_NS:
                    log.warning("slice_not_found", **place_of(one))
                    return await self._write(order, one, NOTHING, Shortfall.NOT_FOUND, benchmark)
            case ExchangeError() as error:
                log.warning("slice_unknown", **place_of(one), error=error.message)
        way.call = None
        return None

    async def _write(
        self, order: ParentOrder, one: Sent, executed: Executed, reason: str, benchmark: Benchmark
    ) -> Outcome | None:
        market = Market(one.exchange, one.symbol)
        fill = Fill(market.exchange, market.symbol, executed.average, executed.filled, executed.fee, "")
        fills = (fill,) if executed.filled else ()
        result = self._result(order, one.number, one.quantity, fills, reason, one.mid_price, benchmark)
        result = msgspec.structs.replace(result, started=one.started)
        outcome = None
        async with self._database.writing() as connection:
            before = await store.forget(connection, one)
            if before is not None:
                outcome = Outcome(result, advance(order, before, result))
                await slices.write(connection, [slices.Ran(order, before, outcome.after, result)])
                with localcontext(EXACT):
                    unspent = one.reserved - executed.average * executed.filled
                await store.add_to_day(connection, _day(one.started), -unspent)
        self._ways.pop(order.id, None)
        return outcome

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


def _day(nanoseconds: int) -> str:
    return dt.datetime.fromtimestamp(nanoseconds // NANOSECONDS, dt.UTC).date().isoformat()
