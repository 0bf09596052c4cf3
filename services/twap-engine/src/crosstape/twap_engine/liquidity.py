"""Simulated liquidity: what our own orders have taken from each level of a real book, so that none takes it twice.

The exchange does not know of simulated fills and goes on showing what we took. So of each level that was taken from, an
entry is kept in SQL, one row per market and side, which whoever fills holds locked: replicas and restarts see the same.

A level lives from its price's appearance in the book, as it is published, until it leaves it. While it lives,
everything ever taken from it counts against what the exchange shows: a level that grows offers what was added, one that
shrinks offers less. Times are those in the book's own records (`time_received`, ns): the same for every replica,
whichever clocks those have.

- An entry is of an earlier life when we saw the price absent after it was last taken from: then it counts no more.
- A replica whose book is older than the last taking does not know which life it looks at: it leaves the level alone.
- A replica that came later and has not seen the price absent counts the entry: rather too little than twice.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

from msgspec import Struct

from crosstape.twap_engine.schedule import EXACT

KEPT_NS = 30_000_000_000
"""How long (in book time) an entry outlives its level, for replicas whose book is behind."""

CLOCK_FAULT_NS = 60_000_000_000
"""An entry further ahead of the book than this was written before the ingestor's clock was set back: it is void."""


class Taken(Struct, frozen=True, array_like=True, gc=False):
    """What was taken from a level in all its life, and the time of the book at the last taking."""

    quantity: Decimal
    time: int


def available(shown: Decimal, entry: Taken | None, absent_at: int, book_time: int) -> Decimal:
    """What is left of a level that shows `shown`. `absent_at` is when its price was last seen absent, 0 for never."""
    if entry is None or entry.time < absent_at or entry.time > book_time + CLOCK_FAULT_NS:
        return shown
    if entry.time > book_time:
        return Decimal()
    with localcontext(EXACT):
        return max(shown - entry.quantity, Decimal())


def take(entry: Taken | None, quantity: Decimal, absent_at: int, book_time: int) -> Taken:
    """The level's entry after `quantity` more was taken from it."""
    if entry is None or entry.time < absent_at or entry.time > book_time + CLOCK_FAULT_NS:
        return Taken(quantity, book_time)
    with localcontext(EXACT):
        return Taken(entry.quantity + quantity, book_time)


def is_forgotten(entry: Taken, absent_at: int, book_time: int) -> bool:
    """Whether nobody needs the entry any more."""
    return entry.time < absent_at and absent_at + KEPT_NS < book_time
