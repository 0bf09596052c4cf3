"""Holes in trade numbers: fetched by number, and each ends as repaired, absent or unfillable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from crosstape.common.errors import ExchangeError
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


class _Asked(Struct, frozen=True):
    """Ids that are asked for, all of them of one open hole."""

    opened: _OpenHole
    hole: Hole


class HoleRepair:
    """Repairs the holes of one market whose trades are numbered by `sequence`. No two open ones share an id."""

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
        """Fetch what is missing now, each span on its own.

        Raises ExchangeError where one failed: what is open then stays open.
        """
        for hole in self._sequence.holes:
            self._open_hole(hole, self._causes.pop(hole.first_id, "sequence"))
        self._causes.clear()
        failure: ExchangeError | None = None
        uncovered: list[_Asked] = []
        for span in _spans(self._missing(_Asked(opened, opened.hole) for opened in self._open)):
            try:
                uncovered += await self._fetch(span)
            except ExchangeError as error:
                failure = error
        self._count(self._missing(uncovered))
        for opened in [known for known in self._open if not self._sequence.missing_in(known.hole)]:
            self._open.remove(opened)
            self._settle(opened)
        if failure is not None:
            raise failure

    def _open_hole(self, hole: Hole, cause: str) -> None:
        """Open what no open hole holds of `hole`: it may have been reopened beside one that is partly filled."""
        for part in hole.without((opened.hole.first_id, opened.hole.last_id) for opened in self._open):
            self._open.append(_OpenHole(part, cause))
            self._teller.hole(part, cause, GapState.OPEN)

    def _missing(self, asked: Iterable[_Asked]) -> list[_Asked]:
        """What is still missing of `asked`, ascending."""
        parts = [_Asked(one.opened, part) for one in asked for part in self._sequence.missing_in(one.hole)]
        return sorted(parts, key=lambda part: part.hole.first_id)

    async def _fetch(self, span: list[_Asked]) -> list[_Asked]:
        """Publish what the history has of `span`; returns what it did not cover. Raises ExchangeError."""
        start = min(asked.hole.start for asked in span) - OVERLAP
        end = max(asked.hole.end for asked in span) + OVERLAP
        query = HistoryQuery(self._market.instrument, span[0].hole.first_id, span[-1].hole.last_id, max(start, 0), end)
        is_exhaustive = True
        async for page in self._rest.trade_history(query):
            is_exhaustive = page.is_exhaustive
            for trade in page.trades:
                if (opened := self._wanting(span, trade)) is not None:
                    opened.trades += 1
                    self._teller.publish(trade, opened.cause)
            for trade in page.refused:
                if (opened := self._wanting(span, trade)) is not None:
                    self._refuse(opened, trade)
            await self._teller.room()
        if not is_exhaustive:
            return span
        for left in self._missing(span):
            self._give_up(left.opened, left.hole, GapState.ABSENT)
        return []

    def _wanting(self, span: list[_Asked], trade: Trade) -> _OpenHole | None:
        """The open hole that `span` asks `trade` for, if it is still missing."""
        number = trade.trade_id
        if not isinstance(number, int) or not self._sequence.lacks(number):
            return None
        asked = (one.opened for one in span if one.hole.first_id <= number <= one.hole.last_id)
        return next(asked, None)

    def _refuse(self, opened: _OpenHole, trade: Trade) -> None:
        """The exchange has `trade`, the tape never will: to ask again would not help."""
        number = int(trade.trade_id)
        self._teller.refuse(trade)
        self._give_up(opened, Hole(number, number, trade.time, trade.time), GapState.UNFILLABLE)

    def _count(self, uncovered: list[_Asked]) -> None:
        """One attempt of each open hole whose parts the history did not cover: the last one gives them up."""
        for opened in dict.fromkeys(asked.opened for asked in uncovered):
            opened.attempts += 1
        for asked in uncovered:
            if asked.opened.attempts >= ATTEMPTS:
                self._give_up(asked.opened, asked.hole, GapState.UNFILLABLE)

    def _give_up(self, opened: _OpenHole, left: Hole, state: GapState) -> None:
        self._sequence.close(left.first_id, left.last_id)
        opened.left.append((left, state))
        if state is GapState.UNFILLABLE:
            self._market.unfillable.append((left.first_id, left.last_id))

    def _settle(self, opened: _OpenHole) -> None:
        """Tell the ledger how a hole ended: what history lacks does not exist, unless it does not reach that far."""
        hole, left = opened.hole, _joined(opened.left)
        if left and len(left[0][0]) == len(hole):
            self._teller.hole(hole, opened.cause, left[0][1])
            return
        self._teller.hole(hole, opened.cause, GapState.REPAIRED, opened.trades)
        for part, state in left:
            self._teller.hole(part, opened.cause, state)

    async def fetch_newer(self, cause: str, until: int) -> int:
        """Publish the trades up to `until` (ns) after the newest known one, page by page; returns how many there were.

        Holes that they reveal are noted: what a page that fails leaves out is one of them, or newer than all known.
        Raises ExchangeError.
        """
        if self._sequence.newest_id is None:
            return 0
        first, since = self._sequence.newest_id + 1, self._sequence.newest_time
        query = HistoryQuery(self._market.instrument, first, None, max(0, since - OVERLAP), until)
        published = 0
        async for page in self._rest.trade_history(query):
            newer = {
                one.trade_id: one for one in page.trades if isinstance(one.trade_id, int) and one.trade_id >= first
            }
            for number in sorted(filter(self._sequence.lacks, newer)):
                published += 1
                if (hole := self._teller.publish(newer[number], cause)) is not None:
                    self.note(hole, cause)
            await self._teller.room()
        return published


def _joined(parts: Iterable[tuple[Hole, GapState]]) -> list[tuple[Hole, GapState]]:
    """`parts`, ascending, with neighbours of one state as one."""
    joined: list[tuple[Hole, GapState]] = []
    for part, state in sorted(parts, key=lambda one: one[0].first_id):
        if joined and joined[-1][1] is state and joined[-1][0].last_id + 1 == part.first_id:
            before, _ = joined.pop()
            start, end = min(before.start, part.start), max(before.end, part.end)
            joined.append((Hole(before.first_id, part.last_id, start, end), state))
        else:
            joined.append((part, state))
    return joined


def _spans(parts: Sequence[_Asked]) -> list[list[_Asked]]:
    """Neighbouring parts that one page of history can hold, in groups."""
    spans: list[list[_Asked]] = []
    for part in parts:
        if spans and part.hole.last_id - spans[-1][0].hole.first_id < SPAN:
            spans[-1].append(part)
        else:
            spans.append([part])
    return spans
