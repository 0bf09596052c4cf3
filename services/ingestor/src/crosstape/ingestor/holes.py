"""Holes in trade numbers: fetched by number, and each ends as repaired, absent or unfillable."""

from __future__ import annotations

from collections.abc import Sequence

from crosstape.common.market.ledger import GapState
from crosstape.common.market.trade import Trade
from crosstape.exchanges.dialect import HistoryQuery
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.intervals import OVERLAP
from crosstape.ingestor.market import Market
from crosstape.ingestor.sequence import Hole, TradeSequence
from crosstape.ingestor.telling import Teller

SPAN = 1_000
"""Holes closer together than this are asked for in one query: the page size of most exchanges."""

ATTEMPTS = 4
"""How often a history that does not cover a hole is asked: an exchange's REST may lag behind its stream."""


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


class HoleRepair:
    """Repairs the holes of one market whose trades are numbered by `sequence`."""

    def __init__(self, market: Market, sequence: TradeSequence, rest: ExchangeRest, teller: Teller):
        self._market = market
        self._sequence = sequence
        self._rest = rest
        self._teller = teller
        self._causes: dict[int, str] = {}
        self._open: list[_OpenHole] = []

    @property
    def is_busy(self) -> bool:
        """Whether a hole is still open."""
        return bool(self._open)

    def note(self, hole: Hole, cause: str) -> None:
        """What made `hole`, for the next repair."""
        self._causes[hole.first_id] = cause

    async def repair(self) -> None:
        """Fetch what is missing now. Raises ExchangeError: what is open then stays open."""
        sequence = self._sequence
        for hole in sequence.holes:
            if not any(known.holds(hole.first_id) for known in self._open):
                opened = _OpenHole(hole, self._causes.pop(hole.first_id, "sequence"))
                self._open.append(opened)
                self._teller.hole(hole, opened.cause, GapState.OPEN)
        for span in _spans(sequence.holes):
            await self._repair_span(span)
        self._causes.clear()
        for opened in [known for known in self._open if not sequence.missing_in(known.hole)]:
            self._open.remove(opened)
            self._settle(opened)

    async def _repair_span(self, span: list[Hole]) -> None:
        start = min(hole.start for hole in span) - OVERLAP
        end = max(hole.end for hole in span) + OVERLAP
        query = HistoryQuery(self._market.instrument, span[0].first_id, span[-1].last_id, max(start, 0), end)
        is_exhaustive = True
        async for page in self._rest.trade_history(query):
            is_exhaustive = page.is_exhaustive
            for trade in page.trades:
                self._fill(span, trade)
        for left in [part for hole in span for part in self._sequence.missing_in(hole)]:
            opened = self._holding(left.first_id)
            opened.attempts += 1
            if is_exhaustive or opened.attempts >= ATTEMPTS:
                self._give_up(opened, left, GapState.ABSENT if is_exhaustive else GapState.UNFILLABLE)

    def _give_up(self, opened: _OpenHole, left: Hole, state: GapState) -> None:
        self._sequence.close(left.first_id, left.last_id)
        opened.left.append((left, state))
        if state is GapState.UNFILLABLE:
            self._market.unfillable.append((left.first_id, left.last_id))

    def _fill(self, span: list[Hole], trade: Trade) -> None:
        trade_id = trade.trade_id
        if isinstance(trade_id, int) and any(hole.first_id <= trade_id <= hole.last_id for hole in span):
            opened = self._holding(trade_id)
            opened.trades += 1
            self._teller.publish(trade, opened.cause)

    def _holding(self, trade_id: int) -> _OpenHole:
        return next(opened for opened in self._open if opened.holds(trade_id))

    def _settle(self, opened: _OpenHole) -> None:
        """Tell the ledger how a hole ended: what history lacks does not exist, unless it does not reach that far."""
        hole = opened.hole
        if opened.left and len(opened.left[0][0]) == len(hole):
            self._teller.hole(hole, opened.cause, opened.left[0][1])
            return
        self._teller.hole(hole, opened.cause, GapState.REPAIRED, opened.trades)
        for part, state in opened.left:
            self._teller.hole(part, opened.cause, state)

    async def fetch_newer(self, cause: str, until: int) -> int:
        """Publish the trades up to `until` (ns) after the newest known one; returns how many there were. Holes that
        they reveal are noted. Raises ExchangeError."""
        if self._sequence.newest_id is None:
            return 0
        first, since = self._sequence.newest_id + 1, self._sequence.newest_time
        query = HistoryQuery(self._market.instrument, first, None, max(0, since - OVERLAP), until)
        newer: dict[int, Trade] = {}
        async for page in self._rest.trade_history(query):
            for trade in page.trades:
                if isinstance(trade.trade_id, int) and trade.trade_id >= first:
                    newer[trade.trade_id] = trade
        for trade_id in sorted(newer):
            if (hole := self._teller.publish(newer[trade_id], cause)) is not None:
                self.note(hole, cause)
        return len(newer)


def _spans(holes: Sequence[Hole]) -> list[list[Hole]]:
    """Neighbouring holes that one page of history can hold, in groups."""
    spans: list[list[Hole]] = []
    for hole in holes:
        if spans and hole.last_id - spans[-1][0].first_id < SPAN:
            spans[-1].append(hole)
        else:
            spans.append([hole])
    return spans
