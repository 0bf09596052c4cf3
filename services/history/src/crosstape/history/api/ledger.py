"""The ledger of a range: when somebody listened, what was reported lost, and which ids the tape lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.ledger import GapState
from crosstape.history.api.markets import Market
from crosstape.history.api.missing import Hole, is_numbered, missing_ids
from crosstape.history.api.spans import Span, Spans
from crosstape.history.store import Store


class LedgerGap(Struct, frozen=True):
    """A row of the ledger; times in ns, ids -1 where the gap is an interval without a connection."""

    first_id: int
    last_id: int
    start: int
    end: int
    cause: str
    state: GapState


class Ledger(Struct, frozen=True):
    """What is known of `page` (ns). `heard` are the times (ns) in which somebody listened, or which were vouched for
    since. Of a numbered market `holes` are those that reach into the page; `between` is from the open of the minute
    with trades before the page to the end of the one after it (Unix s), or the page's bounds where there is none."""

    page: Span
    heard: Sequence[Span]
    gaps: Sequence[LedgerGap]
    holes: Sequence[Hole] = ()
    between: Span = (0, 0)


async def read_ledger(store: Store, market: Market, start: int, end: int) -> Ledger:
    """The ledger of [start, end) (Unix s), whole minutes. Raises DatabaseError."""
    place = {"exchange": market.exchange, "symbol": market.symbol}
    page = (start * NANOSECONDS, end * NANOSECONDS)
    heard = await store.rows("coverage", **place, start=page[0], end=page[1])
    gaps = [
        LedgerGap(first, last, begun, ended, cause, GapState(state))
        for first, last, begun, ended, cause, state in await store.rows("gaps", **place, start=page[0], end=page[1])
    ]
    if not is_numbered(market) or start >= end:
        return Ledger(page, heard, gaps)
    [(earlier, later)] = await store.rows("neighbours", start=start, end=end, **place)
    found = await missing_ids(store, market.exchange, [market.symbol], earlier, later)
    holes = [hole for hole in found.get(market.symbol, []) if hole.before >= page[0] and hole.after < page[1]]
    return Ledger(page, heard, gaps, holes, (earlier, later))


def lost(ledger: Ledger, coverage: Spans) -> Iterator[tuple[int, int, str]]:
    """The times [first, last] (ns) in which trades are missing, and why. `coverage` is what was heard or is proven. A
    hole lies between the trades around it; a gap is lost as well while it lasts. Pure."""
    for hole in ledger.holes:
        yield hole.after, hole.before, "sequence"
    for gap in ledger.gaps:
        if lasts(gap, ledger, coverage):
            yield gap.start, gap.end, gap.cause


def lasts(gap: LedgerGap, ledger: Ledger, coverage: Spans) -> bool:
    """Whether trades of `gap` may still be missing.

    Whoever reported it may have been killed before it could report the repair, and another ingestor may have what this
    one could not get: so the tape itself decides, by its ids where they are numbered. Where they are not, an open gap
    ends by what was heard or vouched for since, but for what the bus lost: that had been heard and vouched for before,
    and ends by its repair alone. One that cannot be filled stays.
    """
    if gap.state not in (GapState.OPEN, GapState.UNFILLABLE):
        return False
    if gap.first_id >= 0:
        return any(hole.first <= gap.last_id and gap.first_id <= hole.last for hole in ledger.holes)
    if gap.state is GapState.UNFILLABLE or gap.cause == "bus":
        return True
    return not coverage.covers(max(gap.start, ledger.page[0]), min(gap.end, ledger.page[1]))
