"""Intervals in which trades may have been missed, where trades have no numbers: compared with the exchange's history.

Time counts as covered only once it was compared. What the history no longer reaches is given up by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.ledger import GapState
from crosstape.common.market.trade import Trade
from crosstape.exchanges.dialect import HistoryQuery
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.market import Market
from crosstape.ingestor.telling import Teller

OVERLAP = 2_000_000_000
"""How far (ns) an interval is asked for before its start: clocks and stamps differ a little."""

HISTORY_LAG = 1_000_000_000
"""How far (ns) an exchange's history may be behind its socket: what is younger is not yet compared."""


class Outage(Struct, frozen=True):
    """An interval (ns of our clock) without a connection, or one in which records may have been lost."""

    start: int
    end: int
    cause: str


class IntervalRepair:
    """Compares one market without trade numbers; `clock` gives ns."""

    def __init__(self, market: Market, rest: ExchangeRest, teller: Teller, clock: Callable[[], int]):
        self._market = market
        self._rest = rest
        self._teller = teller
        self._clock = clock

    async def audit(self) -> int:
        """Compare all since the last time; returns until when (ns) it can be vouched for. Raises ExchangeError.

        Where the history does not reach back, the unbroken connection alone vouches: nobody could say more.
        """
        now = self._clock()
        missed, _ = await self._compare(Outage(self._market.compared_until, now, "sequence"))
        if missed:
            start, end = missed[0].time, missed[-1].time + 1
            self._teller.interval(start, end, "sequence", GapState.REPAIRED, len(missed))
        return now - HISTORY_LAG

    def vouch(self, connected_since: int, until: int) -> None:
        """All of [connected_since, until) ns was compared."""
        if until > connected_since:
            self._market.compared_until = max(self._market.compared_until, until)
            self._teller.vouch(connected_since, until)

    async def repair(self, outage: Outage) -> None:
        """Publish what `outage` lacks and tell how it ended. Raises ExchangeError."""
        await asyncio.sleep(max(0, outage.end + HISTORY_LAG - self._clock()) / NANOSECONDS)
        missed, reached = await self._compare(outage)
        if reached > outage.start:
            self._teller.interval(outage.start, reached, outage.cause, GapState.UNFILLABLE)
        if reached < outage.end:
            self._teller.interval(reached, outage.end, outage.cause, GapState.REPAIRED, len(missed))
        if outage.start <= self._market.compared_until:
            self._market.compared_until = max(self._market.compared_until, outage.end)

    async def _compare(self, interval: Outage) -> tuple[list[Trade], int]:
        """Publish what the exchange's history has of `interval` and had not come. Returns these trades and how far back
        (ns) it reached, at least to `interval.start` where it has all."""
        query = HistoryQuery(self._market.instrument, None, None, max(0, interval.start - OVERLAP), interval.end)
        found: list[Trade] = []
        oldest = interval.end
        is_exhaustive = True
        unaudited = self._market.unaudited
        async for page in self._rest.trade_history(query):
            is_exhaustive = page.is_exhaustive
            oldest = min([oldest, *(trade.time for trade in page.trades)])
            # What the bus lost had been seen: all of that interval is published once more.
            found += page.trades if interval.cause == "bus" else self._market.unseen(page.trades)
            self._market.reach = max(self._market.reach, len(page.trades))
        self._market.unaudited = max(0, self._market.unaudited - unaudited)
        missed = sorted(
            (trade for trade in found if query.start <= trade.time), key=lambda trade: (trade.time, str(trade.trade_id))
        )
        for trade in missed:
            self._teller.publish(trade, interval.cause)
        return missed, interval.start if is_exhaustive else max(oldest, interval.start)
