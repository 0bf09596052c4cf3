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
from crosstape.ingestor.market import LEAST_REACH, Market
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


class Compared(Struct, frozen=True):
    """What an audit compared (ns): [since, until), of which the history reached back to `reached`."""

    since: int
    reached: int
    until: int


class IntervalRepair:
    """Compares one market without trade numbers; `clock` gives ns."""

    def __init__(self, market: Market, rest: ExchangeRest, teller: Teller, clock: Callable[[], int]):
        self._market = market
        self._rest = rest
        self._teller = teller
        self._clock = clock

    async def audit(self) -> Compared:
        """Compare all since the last time, and publish what had not come. Raises ExchangeError."""
        since, now = self._market.compared_until, self._clock()
        missed, reached = await self._compare(Outage(since, now, "sequence"))
        if missed:
            start, end = missed[0].time, missed[-1].time + 1
            self._teller.interval(start, end, "sequence", GapState.REPAIRED, len(missed))
        return Compared(since, reached, now - HISTORY_LAG)

    def vouch(self, connected_since: int, compared: Compared) -> None:
        """What was `compared` is all that lacked since `connected_since` (ns).

        What the history did not reach is given up as `unverified`: the connection held, but it alone proves nothing.
        """
        if compared.reached > compared.since:
            self._teller.interval(compared.since, compared.reached, "unverified", GapState.UNFILLABLE)
        if compared.until > connected_since:
            self._market.compared_until = max(self._market.compared_until, compared.until)
            self._teller.vouch(connected_since, compared.until)

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
        held, oldest = 0, interval.end
        is_exhaustive = True
        unaudited = self._market.unaudited
        async for page in self._rest.trade_history(query):
            is_exhaustive = page.is_exhaustive
            held += len(page.trades)
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
        is_young = held < LEAST_REACH and (held > 0 or not self._market.has_traded)  # it never had more trades
        has_all = is_exhaustive or is_young
        return missed, interval.start if has_all else max(oldest, interval.start)
