"""Repair: what the socket did not bring is fetched from the exchange's history, published, and told to the ledger."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from crosstape.common.errors import ExchangeError
from crosstape.common.market.ledger import GapState
from crosstape.common.market.trade import TradeId
from crosstape.common.waiting import pause
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.holes import HoleRepair
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import HISTORY_LAG, Outage, OutageRepair, TradeHistory
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.sequence import Hole
from crosstape.ingestor.telling import Teller

log = structlog.get_logger(__name__)

REORDER_SECONDS = 0.3
"""How long a hole may be a mere change of order before it is one."""

CLOSE = 60_000_000_000
"""Outages (ns) closer together than this are repaired as one."""


class MarketRepair:
    """Repairs one market, one query after the other: holes found meanwhile go into the next.

    What the exchange refuses now stays open in the ledger, by `teller`, and is tried again, for as long as it takes.
    Outages that began before `_unknown_until` (ns) are compared by time, as no numbered trade was known then.
    """

    def __init__(
        self, market: Market, history: TradeHistory, publisher: Publisher, *, clock: Callable[[], int] = time.time_ns
    ):
        self._market = market
        self._clock = clock
        self.teller = Teller(market, publisher, clock)
        self._by_comparison = OutageRepair(market, history, self.teller, clock)
        self._holes = HoleRepair(market, market.sequence, history, self.teller) if market.sequence is not None else None
        self._outages: list[Outage] = []
        self._unknown_until = 0
        self._need = asyncio.Event()

    def hole(self, hole: Hole, cause: str) -> None:
        """Repair `hole` soon."""
        if self._holes is not None:
            self._holes.note(hole, cause)
        self._need.set()

    def outage(self, outage: Outage) -> None:
        """Repair what happened in `outage` soon; in the ledger it is open from now on."""
        if self._is_unknown():
            self._unknown_until = max(self._unknown_until, outage.end)
        place = self._joined_at(outage)
        if place is None:
            self._outages.append(outage)
            self.teller.interval(outage.start, outage.end, outage.cause, GapState.OPEN)
        else:
            known = self._outages[place]
            outage = self._outages[place] = Outage(known.start, max(known.end, outage.end), outage.cause)
            if outage == known:
                return
            self.teller.still_open(outage.start, outage.end, outage.cause)
        self._need.set()

    def unheard_from(self, since: int) -> None:
        """What comes between `since` (ns) and the first connection is an outage too, if that is still to come."""
        market = self._market
        if market.connected_since is None and market.disconnected_at is None:
            market.compared_until = market.compared_until or since
            market.disconnected_at = since

    def _joined_at(self, outage: Outage) -> int | None:
        """Where the known outage is that `outage` makes longer: one of the same start, by which the ledger names it, or
        the last one where that was shortly before. Not where it is the first, which may be under way, nor where the bus
        lost something, as in the ledger that ends by its name alone.
        """
        for place, known in enumerate(self._outages):
            if (known.cause, known.start) == (outage.cause, outage.start):
                return place
        if len(self._outages) < 2 or outage.cause == "bus":
            return None
        last = self._outages[-1]
        is_close = last.cause == outage.cause and last.start <= outage.start < last.end + CLOSE
        return len(self._outages) - 1 if is_close else None

    async def run(self) -> None:
        """Repair until cancelled."""
        failures = 0
        while True:
            await self._need.wait()
            self._need.clear()
            await asyncio.sleep(REORDER_SECONDS)
            if self._holes is not None:
                await self._attempt(self._holes.repair())
            await self._attempt(self._repair_outages())
            failures = failures + 1 if self._outages else 0
            if (seconds := self._due_in(failures)) is not None:
                await pause(self._need, seconds)
                self._need.set()

    def _due_in(self, failures: int) -> float | None:
        """Seconds until what is still open is tried again, None where nothing is; outages failed so many times."""
        due = [] if self._holes is None else [self._holes.due_in]
        if failures:
            due.append(backoff(failures, 0.5 + random.random() / 2))
        return min((seconds for seconds in due if seconds is not None), default=None)

    async def _attempt(self, repairing: Coroutine[Any, Any, None]) -> None:
        """What fails here keeps nothing else waiting."""
        try:
            await repairing
        except ExchangeError as error:
            instrument = self._market.instrument
            market = {"exchange": instrument.exchange, "symbol": instrument.symbol}
            log.warning("repair_delayed", **market, error=error.message)

    async def audit(self) -> int:
        """Ask the exchange for trades that no later trade would reveal; returns how many were found.

        Raises ExchangeError.
        """
        connected_since = self._market.connected_since
        if self._holes is not None and not self._is_unknown():
            return await self._fetch_newer(self._holes, "sequence")
        if connected_since is None:
            return 0
        if self._holes is not None:
            return await self._look_for_first(connected_since)
        compared = await self._by_comparison.audit()
        if not self._outages:  # else their repair vouches first
            self._by_comparison.vouch(connected_since, compared)
        return compared.missed

    def _is_unknown(self) -> bool:
        """Whether trades are numbered, but none is known yet: no number can tell what is missing before the first."""
        sequence = self._market.sequence
        return sequence is not None and sequence.newest_id is None

    async def _look_for_first(self, connected_since: int) -> int:
        """Trades since `connected_since` (ns) that the history has by now were left out, every one; 1 if there are."""
        until = self._clock() - HISTORY_LAG
        self._unknown_until = max(self._unknown_until, until)
        has_any = await self._by_comparison.holds_any(connected_since, until)
        if has_any:
            self.outage(Outage(connected_since, until, "sequence"))
        return int(has_any)

    async def _repair_outages(self) -> None:
        """Repair them in their order; one that fails is behind the others from then on. Raises ExchangeError."""
        while self._outages:
            outage = self._outages[0]
            try:
                done = await self._repair_outage(outage)
            except ExchangeError:
                self._outages.append(self._outages.pop(0))
                raise
            longer = self._outages.pop(0)
            if longer != outage:
                self.outage(longer)
            elif done < outage.end:
                self.outage(Outage(done, outage.end, outage.cause))

    async def _repair_outage(self, outage: Outage) -> int:
        """Returns up to when (ns) it is repaired or given up."""
        done = outage.end
        if self._holes is not None and outage.start >= self._unknown_until:
            trades = await self._fetch_newer(self._holes, outage.cause)
            self.teller.interval(outage.start, outage.end, outage.cause, GapState.REPAIRED, trades)
        else:
            done = await self._by_comparison.repair(outage)
            self._need.set()  # numbers, where it found the first ones, may have holes
        self.teller.vouch(outage.start, done)
        return done

    async def _fetch_newer(self, holes: HoleRepair, cause: str) -> int:
        """How many trades after the newest known one were published; holes among them, also those that a page which
        failed leaves, are repaired soon. Raises ExchangeError."""
        try:
            return await holes.fetch_newer(cause, self._clock())
        finally:
            if holes.has_noted:
                self._need.set()

    def ends_in(self, trade_id: TradeId) -> bool:
        """Whether no trade came after this one."""
        newest = self._market.newest
        return newest is not None and newest.trade_id == trade_id

    def repeat_newest(self) -> None:
        """Publish the newest trade once more: behind it the tape shows what it lacks."""
        if self._market.newest is not None:
            self.teller.repeat(self._market.newest)
