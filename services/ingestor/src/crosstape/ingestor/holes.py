"""Holes in trade numbers: fetched by number, and each ends as repaired, absent or unfillable."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.ledger import GapState
from crosstape.common.market.trade import Trade
from crosstape.exchanges.dialect import HistoryQuery
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import OVERLAP, TradeHistory
from crosstape.ingestor.sequence import Hole, TradeSequence
from crosstape.ingestor.telling import Teller

SPAN = 999
"""Holes so close that they span no more ids are asked for in one query: with the trade behind them that is the page
size of most exchanges."""


UNREACHED_NS = 3 * NANOSECONDS
"""For how long a hole is asked for before which the history ends, if its answer was right."""

LATE_NS = 600 * NANOSECONDS
"""For how long one is that the history has not come to: an exchange's REST may be behind its socket."""


class _OpenHole:
    """A hole as the ledger was told of it; it ends when none of its ids is missing any more.

    It is asked for again at `due`; `since` says when history first did not have it, by the reason (ns).
    """

    def __init__(self, hole: Hole, cause: str):
        self.hole = hole
        self.cause = cause
        self.trades = 0
        self.failures = 0
        self.due = 0
        self.since: dict[str, int] = {}
        self.left: list[tuple[Hole, GapState]] = []


class _Asked(Struct, frozen=True):
    """Ids that are asked for, all of them of one open hole."""

    opened: _OpenHole
    hole: Hole


class HoleRepair:
    """Repairs the holes of one market whose trades are numbered by `sequence`. No two open ones share an id.

    `clock` gives ns and only goes on.
    """

    def __init__(
        self,
        market: Market,
        sequence: TradeSequence,
        history: TradeHistory,
        teller: Teller,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ):
        self._market = market
        self._sequence = sequence
        self._trade_history = history.trade_history
        self._teller = teller
        self._clock = clock
        self._causes: dict[int, str] = {}
        self._open: list[_OpenHole] = []

    @property
    def due_in(self) -> float | None:
        """Seconds until an open hole is asked for again, None where none is open."""
        due = min((opened.due for opened in self._open), default=None)
        return None if due is None else max(0, due - self._clock()) / NANOSECONDS

    @property
    def has_noted(self) -> bool:
        """Whether holes were noted since the last repair began."""
        return bool(self._causes)

    def note(self, hole: Hole, cause: str) -> None:
        """What made `hole`, for the next repair."""
        self._causes[hole.first_id] = cause

    async def repair(self) -> None:
        """Fetch what is missing and due, each span on its own, with what it holds that is not due yet.

        Raises ExchangeError where one failed: what is open then stays open.
        """
        for hole in self._sequence.holes:
            self._open_hole(hole, self._causes.pop(hole.first_id, "sequence"))
        self._causes.clear()
        failure: ExchangeError | None = None
        asked: list[_Asked] = []
        unreached: list[_Asked] = []
        late: list[_Asked] = []
        now = self._clock()
        for span in _spans(self._missing(_Asked(opened, opened.hole) for opened in self._open)):
            if all(one.opened.due > now for one in span):
                continue
            asked += span
            try:
                newest = await self._fetch(span)
            except ExchangeError as error:
                failure = error
                continue
            if newest is None:
                unreached += span
            else:
                late += self._without_absent(span, newest)
        self._wait_for(self._missing(unreached), "unreached", UNREACHED_NS)
        self._wait_for(self._missing(late), "late", LATE_NS)
        for opened in dict.fromkeys(one.opened for one in asked):
            opened.failures += 1
            pause = backoff(opened.failures, 0.5 + random.random() / 2)
            opened.due = self._clock() + int(pause * NANOSECONDS)
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

    async def _fetch(self, span: list[_Asked]) -> int | None:
        """Publish what the history has of `span`. Returns the newest id up to which it has all there is, None where it
        does not reach back to `span`. Raises ExchangeError.

        The id behind `span` is asked for too: its trade was seen, so a history without it is late.
        """
        start = min(asked.hole.start for asked in span) - OVERLAP
        end = max(asked.hole.end for asked in span) + OVERLAP
        first_id, behind = span[0].hole.first_id, span[-1].hole.last_id + 1
        newest, reaches_back = 0, False
        async for page in self._trade_history(
            HistoryQuery(self._market.instrument, first_id, behind, max(start, 0), end)
        ):
            reaches_back = page.reaches_back
            ids = (trade.trade_id for trade in (*page.trades, *page.refused))
            newest = max([newest, *(number for number in ids if isinstance(number, int))])
            for trade in page.trades:
                if (opened := self._wanting(span, trade)) is not None:
                    opened.trades += 1
                    self._teller.publish(trade, opened.cause)
            for trade in page.refused:
                if (opened := self._wanting(span, trade)) is not None:
                    self._refuse(opened, trade)
            await self._teller.room()
        return newest if reaches_back else None

    def _without_absent(self, span: list[_Asked], newest: int) -> list[_Asked]:
        """Give up what is missing of `span` up to id `newest`, as it does not exist; returns what is newer."""
        for asked in self._missing(span):
            hole = asked.hole
            if hole.first_id <= newest:
                absent = Hole(hole.first_id, min(hole.last_id, newest), hole.start, hole.end)
                self._give_up(asked.opened, absent, GapState.ABSENT)
        return [asked for asked in span if asked.hole.last_id > newest]

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

    def _wait_for(self, lacking: list[_Asked], reason: str, patience: int) -> None:
        """Give up what has been `lacking` for this `reason` for as long as `patience` (ns)."""
        now = self._clock()
        for asked in lacking:
            if now - asked.opened.since.setdefault(reason, now) >= patience:
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
        async for page in self._trade_history(query):
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
