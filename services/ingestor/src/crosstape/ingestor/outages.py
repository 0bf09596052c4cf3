"""Outages, and other time in which trades may have been missed where no numbers tell: compared with history.

Time counts as covered only once it was compared. What the history no longer reaches is given up by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.ledger import GapState
from crosstape.common.market.trade import Trade, TradeId
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery
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


class Compared(Struct, frozen=True):
    """What an audit compared (ns): [since, until), of which the history, by its `page`, reached back to `reached`, and
    how many trades it `missed`, which are published now."""

    since: int
    reached: int
    until: int
    page: set[TradeId]
    missed: int


class TradeHistory(Protocol):
    """Where trades are fetched from, be it by a dialect or through ccxt."""

    def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        """The pages of `query`, until there are no more or it is covered. Raises ExchangeError."""
        ...


class _Held(Struct, frozen=True):
    """What a history holds of an interval: `oldest` (ns) is how far back it reached, its start where it has all, and
    `until` (ns) how far on, its end or later unless it has to be asked again for what follows."""

    trades: list[Trade]
    oldest: int
    until: int


class OutageRepair:
    """Compares one market; `clock` gives ns. What was before `_begun` (ns) is nobody's to compare."""

    def __init__(self, market: Market, history: TradeHistory, teller: Teller, clock: Callable[[], int]):
        self._market = market
        self._trade_history = history.trade_history
        self._teller = teller
        self._clock = clock
        self._awaited: dict[TradeId, Trade] = {}
        self._last_page: set[TradeId] = set()
        self._begun: int | None = None

    async def audit(self) -> Compared:
        """Compare all since the last time, and publish what should have come by now. Raises ExchangeError.

        Pages that share a trade leave out none between them, however little of the time before they reach.
        """
        since, now = self._market.compared_until, self._clock()
        self._begun = since if self._begun is None else self._begun
        held = await self._history(since, now)
        until = now - HISTORY_LAG
        page = {trade.trade_id for trade in held.trades}
        reached = since if page & self._last_page else held.oldest
        # What came late to the history, or is stamped by a clock behind ours, was not there when `since` was compared.
        earliest = max(since - OVERLAP, self._begun)
        self._await(trade for trade in held.trades if trade.time >= earliest)
        if missed := await self._publish((one for one in self._awaited.values() if one.time < until), "sequence"):
            start, end = missed[0].time, missed[-1].time + 1
            self._teller.interval(start, end, "sequence", GapState.REPAIRED, len(missed))
        return Compared(since, reached, until, page, len(missed))

    def vouch(self, connected_since: int, compared: Compared) -> None:
        """What was `compared` is all that lacked since `connected_since` (ns).

        What the history did not reach is given up as `unverified`: the connection held, but it alone proves nothing.
        """
        self._last_page = compared.page
        if compared.reached > compared.since:
            self._teller.interval(compared.since, compared.reached, "unverified", GapState.UNFILLABLE)
        if compared.until > connected_since:
            self._market.compared_until = max(self._market.compared_until, compared.until)
            self._teller.vouch(connected_since, compared.until)

    async def holds_any(self, since: int, until: int) -> bool:
        """Whether the history has a trade of [since, until) ns. Raises ExchangeError."""
        held = await self._history(since, until)
        return any(since <= trade.time < until for trade in held.trades)

    async def repair(self, outage: Outage) -> int:
        """Publish what `outage` lacks and tell how it ended. Returns up to when (ns) that is done: the rest is to be
        asked for anew. Raises ExchangeError."""
        self._begun = outage.start if self._begun is None else min(self._begun, outage.start)
        await asyncio.sleep(max(0, outage.end + HISTORY_LAG - self._clock()) / NANOSECONDS)
        held = await self._history(outage.start, outage.end)
        done = min(held.until, outage.end)
        self._await(trade for trade in held.trades if trade.time > outage.end)
        lacking = [trade for trade in held.trades if outage.start - OVERLAP <= trade.time <= held.until]
        # What the bus lost had been seen: all of that interval is published once more.
        missed = await self._publish(lacking if outage.cause == "bus" else self._market.unseen(lacking), outage.cause)
        if held.oldest > outage.start:
            self._teller.interval(outage.start, min(held.oldest, done), outage.cause, GapState.UNFILLABLE)
        if held.oldest < done:
            self._teller.interval(held.oldest, done, outage.cause, GapState.REPAIRED, len(missed))
        if outage.start <= self._market.compared_until or not self._market.compared_until:
            self._market.compared_until = max(self._market.compared_until, done)
        if held.oldest < done and held.oldest <= self._market.compared_until:
            self._last_page = {trade.trade_id for trade in held.trades}
        return done

    async def _history(self, start: int, end: int) -> _Held:
        query = HistoryQuery(self._market.instrument, None, None, max(0, start - OVERLAP), end)
        trades: list[Trade] = []
        reaches_back, since, until = True, end, end
        unaudited = self._market.unaudited
        async for page in self._trade_history(query):
            reaches_back = page.reaches_back
            since = end if page.since is None else page.since
            until = end if page.until is None else page.until
            trades += page.trades
            self._teller.refuse_without_numbers(page.refused)
            self._market.reach = max(self._market.reach, len(page.trades))
        self._market.unaudited = max(0, self._market.unaudited - unaudited)
        # A young market never had more trades.
        is_young = len(trades) < self._market.least_reach and (trades or not self._market.has_traded)
        oldest = min((trade.time for trade in trades), default=since)
        return _Held(trades, start if reaches_back or is_young else min(max(oldest, start), end), until)

    def _await(self, trades: Iterable[Trade]) -> None:
        """The socket may yet bring the youngest ones: they are held until it has, or should have."""
        self._awaited.update((trade.trade_id, trade) for trade in trades)
        self._awaited = {trade.trade_id: trade for trade in self._market.unseen(self._awaited.values())}

    async def _publish(self, trades: Iterable[Trade], cause: str) -> list[Trade]:
        """Publish `trades` in their order, as the bus takes them, and return them so."""
        missed = sorted(trades, key=lambda trade: (trade.time, str(trade.trade_id)))
        for trade in missed:
            self._teller.publish(trade, cause)
            self._awaited.pop(trade.trade_id, None)
            await self._teller.room()
        return missed
