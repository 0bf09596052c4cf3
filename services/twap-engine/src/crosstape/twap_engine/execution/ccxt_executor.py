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
import secrets
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.errors import ExchangeError, ValidationFailed
from crosstape.common.market.bar import NANOSECONDS
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.execution.calls import Way, find, place, place_of
from crosstape.twap_engine.execution.ccxt_clients import Executed, OrderUnknown
from crosstape.twap_engine.execution.executor import Due, Held, Outcome
from crosstape.twap_engine.execution.listings import Listings
from crosstape.twap_engine.order import Benchmark, Fill, Market, ParentOrder, Progress, Shortfall, SliceResult
from crosstape.twap_engine.schedule import EXACT, advance
from crosstape.twap_engine.settings import Limits
from crosstape.twap_engine.store import sent as store
from crosstape.twap_engine.store import slices
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.sent import Sent, Spending
from crosstape.twap_engine.together import together

log = structlog.get_logger(__name__)

FRESH_NS = NANOSECONDS
"""An order goes out so soon after we made sure that it is ours, or not at all."""
UNKNOWN_NS = 40 * NANOSECONDS
"""What an exchange does not know for so long, it never got: the sending took FRESH_NS and PLACING_SECONDS at most, and
what is under way or in a queue of the exchange after that is refused there as too old (Binance: ten seconds, ccxt says
so to it; OKX: thirty, https://www.okx.com/docs-v5/en/#overview-rest-authentication, 2026-11)."""
NOTHING = Executed(is_final=True, filled=Decimal(), average=Decimal(), cost=Decimal(), fee=Decimal())
FORGOTTEN_NS = 60 * NANOSECONDS
"""What is ours is asked for twice a second; a slice that was not for so long is another replica's, or written."""


class CcxtExecutor:
    """An order is only filled where `listings`, which somebody must run, has a client."""

    def __init__(self, database: Database, books: Books, listings: Listings, limits: Limits, clock: Clock):
        self._database = database
        self._books = books
        self._listings = listings
        self._clients = listings.clients
        self._limits = limits
        self._clock = clock
        self._ways: dict[int, Way] = {}

    def check(self, markets: Sequence[Market]) -> None:
        """See Executor."""
        traded = [one for one in markets if any(client.may_trade(one) for client in self._clients.values())]
        if not traded:
            names = " or ".join(sorted(self._clients)) or "no exchange: CROSSTAPE_CCXT_CREDENTIALS is empty"
            raise ValidationFailed(
                f"Orders go to real spot markets of {names}, and this symbol is none of them: name one that is, or "
                "another exchange.",
                {"parameter": "symbol"},
            )
        if not any(self._limits.allow(one.quote) for one in traded):
            quotes = " or ".join(sorted({one.quote for one in traded}))
            raise ValidationFailed(f"Nothing may be traded in {quotes} here: it has no limit.", {"parameter": "symbol"})

    async def run(self, due: Sequence[Due]) -> Mapping[int, Outcome | None]:
        """See Executor."""
        outcomes = await together(map(self._run, due))
        return {one.held.order.id: outcome for one, (is_ours, outcome) in zip(due, outcomes, strict=True) if is_ours}

    async def _run(self, due: Due) -> tuple[bool, Outcome | None]:
        """Whether the order is still ours, and what a slice came to if that is known: the one that is due, or an
        earlier one that is still on its way."""
        held, order = due.held, due.held.order
        ready = self._listings.ready(order)
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
        spending = _spending(planned)
        counted, against = await store.lock_day(connection, spending)
        with localcontext(EXACT):
            counted, against = counted + planned.reserved, against + planned.reserved
        if against > self._limits.of_day(spending.quote):
            return Shortfall.DAY_LIMIT
        await store.write_day(connection, spending, counted)
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
        answering = [market for market in order.markets if market.exchange in ready]
        open_ones = [market for market in answering if self._clients[market.exchange].may_trade(market)]
        if answering and not open_ones:
            return Shortfall.REFUSED
        allowed = [market for market in open_ones if self._limits.allow(market.quote)]
        if open_ones and not allowed:
            return Shortfall.ORDER_LIMIT
        touches = [
            (touch[1] if order.side.sign > 0 else touch[0], market)
            for market in allowed
            if (book := self._books.tradable(market, now)) is not None and (touch := book.touch) is not None
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
            if before.notional + reserved > self._limits.of_order(market.quote):
                return Shortfall.ORDER_LIMIT
        return Sent(
            order.id,
            number,
            self._clock.utc(),
            market.exchange,
            market.symbol,
            quantity,
            limit,
            reserved,
            mid,
            _new_name(order.id, number),
        )

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
        await way.ask(place(self._clients[one.exchange], held.order, way), self._clock.steady())
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
            way.warn("exchange_without_client", "There are no credentials of this exchange any more.")
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
                executed = msgspec.structs.replace(executed, fee=executed.fee or way.fee)
                return await self._write(order, one, executed, reason, benchmark)
            case OrderUnknown():
                if way.unknown_since is None:
                    way.unknown_since = self._clock.steady()
                if way.asked - way.unknown_since > UNKNOWN_NS:
                    log.warning("slice_not_found", **place_of(one))
                    return await self._write(order, one, NOTHING, Shortfall.NOT_FOUND, benchmark)
            case ExchangeError() as error:
                way.warn("slice_unknown", error.message)
        way.call = None
        return None

    async def _write(
        self, order: ParentOrder, one: Sent, executed: Executed, reason: str, benchmark: Benchmark
    ) -> Outcome | None:
        market = Market(one.exchange, one.symbol)
        fill = Fill(market.exchange, market.symbol, executed.average, executed.filled, executed.fee, "", executed.cost)
        fills = (fill,) if executed.filled else ()
        result = self._result(order, one.number, one.quantity, fills, reason, one.mid_price, benchmark)
        result = msgspec.structs.replace(result, started=one.started)
        outcome = None
        async with self._database.writing() as connection:
            before = await store.forget(connection, one)
            if before is not None:
                outcome = Outcome(result, advance(order, before, result))
                await slices.write(connection, [slices.Ran(order, before, outcome.after, result)])
                counted, _ = await store.lock_day(connection, _spending(one))
                with localcontext(EXACT):
                    counted += executed.cost - one.reserved
                await store.write_day(connection, _spending(one), counted)
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


def _new_name(parent: int, number: int) -> str:
    """An id that an exchange has not seen: an account may have had orders of another database, or of one that was
    restored, whose numbers are the same. Up to 32 letters and digits, which every exchange takes."""
    return f"ctwap{parent}x{number}x{secrets.token_hex(4)}"


def _spending(one: Sent) -> Spending:
    """What a slice counts against."""
    day = dt.datetime.fromtimestamp(one.started // NANOSECONDS, dt.UTC).date().isoformat()
    return Spending(day, Market(one.exchange, one.symbol).quote)
