"""Repair: what the socket did not bring is fetched from the exchange's history, published, and told to the ledger."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence

import structlog
from msgspec import Struct
from prometheus_client import Counter

from crosstape.common.errors import ExchangeError
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import Source, Trade
from crosstape.exchanges.dialect import HistoryQuery
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.sequence import Hole, TradeSequence

log = structlog.get_logger(__name__)

REORDER_SECONDS = 0.3
"""How long a hole may be a mere change of order before it is one."""

SPAN = 1_000
"""Holes closer together than this are asked for in one query: the page size of most exchanges."""

ATTEMPTS = 4
"""How often a history that does not cover a hole is asked: an exchange's REST may lag behind its stream."""

OVERLAP = 2_000_000_000
"""How far (ns) an interval is asked for before its start: clocks and stamps differ a little."""

REPAIRED = Counter("crosstape_ingestor_trades_repaired_total", "Trades fetched from history", ["exchange", "cause"])
GAPS = Counter("crosstape_ingestor_gaps_total", "Holes and outages by outcome", ["exchange", "cause", "state"])


class Outage(Struct, frozen=True):
    """An interval (ns of our clock) without a connection, or one in which records may have been lost."""

    start: int
    end: int
    cause: str


class _OpenHole:
    """A hole as the ledger was told of it; it ends when none of its ids is missing any more."""

    def __init__(self, hole: Hole, cause: str):
        self.hole = hole
        self.cause = cause
        self.trades = 0
        self.attempts = 0
        self.left: list[tuple[Hole, GapState]] = []

    def holds(self, trade_id: int) -> bool:
        return self.hole.first_id <= trade_id <= self.hole.last_id


class MarketRepair:
    """Repairs one market, one query after the other: holes found meanwhile go into the next.

    What the exchange refuses now stays open in the ledger and is tried again, for as long as it takes.
    """

    def __init__(
        self, market: Market, rest: ExchangeRest, publisher: Publisher, *, clock: Callable[[], int] = time.time_ns
    ):
        self._market = market
        self._rest = rest
        self._publisher = publisher
        self._clock = clock
        self._causes: dict[int, str] = {}
        self._open: list[_OpenHole] = []
        self._outages: list[Outage] = []
        self._need = asyncio.Event()

    def hole(self, hole: Hole, cause: str) -> None:
        """Repair `hole` soon."""
        self._causes[hole.first_id] = cause
        self._need.set()

    def outage(self, outage: Outage) -> None:
        """Repair what happened in `outage` soon; in the ledger it is open from now on."""
        if len(self._outages) > 1 and self._outages[-1].cause == outage.cause:  # the first one may be under way
            self._outages[-1] = Outage(self._outages[-1].start, outage.end, outage.cause)
            return
        self._outages.append(outage)
        self._report(None, None, outage.start, outage.end, outage.cause, GapState.OPEN, 0)
        self._need.set()

    async def run(self) -> None:
        """Repair until cancelled."""
        failures = 0
        while True:
            await self._need.wait()
            self._need.clear()
            await asyncio.sleep(REORDER_SECONDS)
            try:
                await self._repair_holes()
                await self._repair_outages()
            except ExchangeError as error:
                instrument = self._market.instrument
                market = {"exchange": instrument.exchange, "symbol": instrument.symbol}
                log.warning("repair_delayed", **market, error=error.message)
            failures = failures + 1 if self._open or self._outages else 0
            if failures:
                await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))
                self._need.set()

    async def audit(self) -> None:
        """Ask the exchange for trades after the newest one we have: those that no later trade would reveal.

        Raises ExchangeError.
        """
        market = self._market
        if market.sequence is not None:
            await self._fetch_newer("sequence")
        elif market.connected_since is not None:
            await self._fetch_interval(Outage(market.bridged_until, self._clock(), "sequence"), is_audit=True)

    # --- numbered trades ----------------------------------------------------------------------------------------

    async def _repair_holes(self) -> None:
        sequence = self._market.sequence
        if sequence is None:
            return
        for hole in sequence.holes:
            if not any(known.holds(hole.first_id) for known in self._open):
                opened = _OpenHole(hole, self._causes.pop(hole.first_id, "sequence"))
                self._open.append(opened)
                self._report_hole(opened, hole, GapState.OPEN, 0)
        for span in _spans(sequence.holes):
            await self._repair_span(sequence, span)
        self._causes.clear()
        for opened in [known for known in self._open if not sequence.missing_in(known.hole)]:
            self._open.remove(opened)
            self._settle(opened)

    async def _repair_span(self, sequence: TradeSequence, span: list[Hole]) -> None:
        start = min(hole.start for hole in span) - OVERLAP
        end = max(hole.end for hole in span) + OVERLAP
        query = HistoryQuery(self._market.instrument, span[0].first_id, span[-1].last_id, max(start, 0), end)
        is_exhaustive = True
        async for page in self._rest.trade_history(query):
            is_exhaustive = page.is_exhaustive
            for trade in page.trades:
                self._fill(span, trade)
        for left in [part for hole in span for part in sequence.missing_in(hole)]:
            opened = self._holding(left.first_id)
            opened.attempts += 1
            if is_exhaustive or opened.attempts >= ATTEMPTS:
                self._give_up(sequence, opened, left, GapState.ABSENT if is_exhaustive else GapState.UNFILLABLE)

    def _give_up(self, sequence: TradeSequence, opened: _OpenHole, left: Hole, state: GapState) -> None:
        sequence.close(left.first_id, left.last_id)
        opened.left.append((left, state))
        if state is GapState.UNFILLABLE:
            self._market.unfillable.append((left.first_id, left.last_id))

    def _fill(self, span: list[Hole], trade: Trade) -> None:
        trade_id = trade.trade_id
        if isinstance(trade_id, int) and any(hole.first_id <= trade_id <= hole.last_id for hole in span):
            opened = self._holding(trade_id)
            opened.trades += 1
            self._publish(trade, opened.cause)

    def _holding(self, trade_id: int) -> _OpenHole:
        return next(opened for opened in self._open if opened.holds(trade_id))

    def _settle(self, opened: _OpenHole) -> None:
        """Tell the ledger how a hole ended: what history lacks does not exist, unless it does not reach that far."""
        hole = opened.hole
        if opened.left and len(opened.left[0][0]) == len(hole):
            self._report_hole(opened, hole, opened.left[0][1], 0)
            return
        self._report_hole(opened, hole, GapState.REPAIRED, opened.trades)
        for part, state in opened.left:
            self._report_hole(opened, part, state, 0)

    def _report_hole(self, opened: _OpenHole, hole: Hole, state: GapState, trades: int) -> None:
        self._report(hole.first_id, hole.last_id, hole.start, hole.end, opened.cause, state, trades)

    async def _fetch_newer(self, cause: str) -> int:
        """Publish the trades after the newest known one; returns how many there were."""
        sequence = self._market.sequence
        if sequence is None or sequence.newest_id is None:
            return 0
        first, since = sequence.newest_id + 1, sequence.newest_time
        query = HistoryQuery(self._market.instrument, first, None, max(0, since - OVERLAP), self._clock())
        newer: dict[int, Trade] = {}
        async for page in self._rest.trade_history(query):
            for trade in page.trades:
                if isinstance(trade.trade_id, int) and trade.trade_id >= first:
                    newer[trade.trade_id] = trade
        for trade_id in sorted(newer):
            if (hole := self._publish(newer[trade_id], cause)) is not None:
                self.hole(hole, cause)
        return len(newer)

    # --- trades without order, and intervals --------------------------------------------------------------------

    async def _repair_outages(self) -> None:
        while self._outages:
            outage = self._outages[0]
            if self._market.sequence is None:
                await self._fetch_interval(outage, is_audit=False)
            else:
                trades = await self._fetch_newer(outage.cause)
                self._report(None, None, outage.start, outage.end, outage.cause, GapState.REPAIRED, trades)
                self._bridge(outage)
            self._outages.pop(0)

    async def _fetch_interval(self, outage: Outage, *, is_audit: bool) -> None:
        query = HistoryQuery(self._market.instrument, None, None, max(0, outage.start - OVERLAP), outage.end)
        found: list[Trade] = []
        oldest = outage.end
        is_exhaustive = True
        unaudited = self._market.unaudited
        async for page in self._rest.trade_history(query):
            is_exhaustive = page.is_exhaustive
            oldest = min([oldest, *(trade.time for trade in page.trades)])
            # What the bus lost had been seen: all of that interval is published once more.
            found += page.trades if outage.cause == "bus" else self._market.unseen(page.trades)
            self._market.reach = max(self._market.reach, len(page.trades))
        self._market.unaudited = max(0, self._market.unaudited - unaudited)
        missed = sorted(
            (trade for trade in found if query.start <= trade.time), key=lambda trade: (trade.time, str(trade.trade_id))
        )
        for trade in missed:
            self._publish(trade, outage.cause)
        if is_audit:
            if missed:
                start, end = missed[0].time, missed[-1].time + 1
                self._report(None, None, start, end, outage.cause, GapState.REPAIRED, len(missed))
        else:
            reached = outage.start if is_exhaustive else min(max(oldest, outage.start), outage.end)
            if not is_exhaustive:
                self._report(None, None, outage.start, reached, outage.cause, GapState.UNFILLABLE, 0)
            if is_exhaustive or reached < outage.end:
                self._report(None, None, reached, outage.end, outage.cause, GapState.REPAIRED, len(missed))
        self._bridge(outage)

    def _bridge(self, outage: Outage) -> None:
        """The history vouches for `outage`: it counts as covered."""
        self._market.bridged_until = max(self._market.bridged_until, outage.end)
        instrument = self._market.instrument
        self._publisher.ledger(Coverage(instrument.exchange, instrument.symbol, outage.start, outage.end))

    # --- both ---------------------------------------------------------------------------------------------------

    def _publish(self, trade: Trade, cause: str) -> Hole | None:
        hole = self._market.observe(trade)
        self._publisher.trade(trade, Source.HISTORY)
        REPAIRED.labels(trade.exchange, cause).inc()
        return hole

    def _report(
        self, first_id: int | None, last_id: int | None, start: int, end: int, cause: str, state: GapState, trades: int
    ) -> None:
        instrument = self._market.instrument
        GAPS.labels(instrument.exchange, cause, state.value).inc()
        self._publisher.ledger(
            Gap(
                instrument.exchange,
                instrument.symbol,
                first_id,
                last_id,
                start,
                end,
                cause,
                state,
                trades,
                self._clock(),
            )
        )


def _spans(holes: Sequence[Hole]) -> list[list[Hole]]:
    """Neighbouring holes that one page of history can hold, in groups."""
    spans: list[list[Hole]] = []
    for hole in holes:
        if spans and hole.last_id - spans[-1][0].first_id < SPAN:
            spans[-1].append(hole)
        else:
            spans.append([hole])
    return spans
