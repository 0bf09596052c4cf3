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
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.holes import HoleRepair
from crosstape.ingestor.intervals import HISTORY_LAG, IntervalRepair, Outage
from crosstape.ingestor.market import Market
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

    What the exchange refuses now stays open in the ledger and is tried again, for as long as it takes. Outages that
    began before `_unknown_until` (ns) are compared by time, as no numbered trade was known then.
    """

    def __init__(
        self, market: Market, rest: ExchangeRest, publisher: Publisher, *, clock: Callable[[], int] = time.time_ns
    ):
        self._market = market
        self._clock = clock
        self._teller = Teller(market, publisher, clock)
        self._intervals = IntervalRepair(market, rest, self._teller, clock)
        self._holes = HoleRepair(market, market.sequence, rest, self._teller) if market.sequence is not None else None
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
        if len(self._outages) > 1:  # the first one may be under way
            last = self._outages[-1]
            # Its start is its name in the ledger: one that began earlier has its own.
            if last.cause == outage.cause and last.start <= outage.start < last.end + CLOSE:
                self._outages[-1] = Outage(last.start, max(last.end, outage.end), outage.cause)
                return
        self._outages.append(outage)
        self._teller.interval(outage.start, outage.end, outage.cause, GapState.OPEN)
        self._need.set()

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
            is_busy = self._outages or (self._holes is not None and self._holes.is_busy)
            failures = failures + 1 if is_busy else 0
            if failures:
                await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))
                self._need.set()

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
        compared = await self._intervals.audit()
        if not self._outages:  # else their repair vouches first
            self._intervals.vouch(connected_since, compared)
        return compared.missed

    def _is_unknown(self) -> bool:
        """Whether trades are numbered, but none is known yet: no number can tell what is missing before the first."""
        sequence = self._market.sequence
        return sequence is not None and sequence.newest_id is None

    async def _look_for_first(self, connected_since: int) -> int:
        """Trades since `connected_since` (ns) that the history has by now were left out, every one; 1 if there are."""
        until = self._clock() - HISTORY_LAG
        self._unknown_until = max(self._unknown_until, until)
        has_any = await self._intervals.holds_any(connected_since, until)
        if has_any:
            self.outage(Outage(connected_since, until, "sequence"))
        return int(has_any)

    async def _repair_outages(self) -> None:
        """Repair them in their order; one that fails is behind the others from then on. Raises ExchangeError."""
        while self._outages:
            try:
                await self._repair_outage(self._outages[0])
            except ExchangeError:
                self._outages.append(self._outages.pop(0))
                raise
            self._outages.pop(0)

    async def _repair_outage(self, outage: Outage) -> None:
        if self._holes is not None and outage.start >= self._unknown_until:
            trades = await self._fetch_newer(self._holes, outage.cause)
            self._teller.interval(outage.start, outage.end, outage.cause, GapState.REPAIRED, trades)
        else:
            await self._intervals.repair(outage)
            self._need.set()  # numbers, where it found the first ones, may have holes
        self._teller.vouch(outage.start, outage.end)

    async def _fetch_newer(self, holes: HoleRepair, cause: str) -> int:
        """How many trades after the newest known one were published; holes among them are repaired soon."""
        found = await holes.fetch_newer(cause, self._clock())
        if found:
            self._need.set()
        return found

    def repeat_newest(self) -> None:
        """Publish the newest trade once more: behind it the tape shows what it lacks."""
        if self._market.newest is not None:
            self._teller.repeat(self._market.newest)
