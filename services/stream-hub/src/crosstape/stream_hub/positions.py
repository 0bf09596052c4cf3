"""Positions: where a message stands in its channel, the same on every replica and after every restart.

A position is the offset of the message's record in the log, and its place within the record. So it grows along a
channel, has gaps, and means something only together with the log's epoch.
"""

from __future__ import annotations

ITEM_BITS = 16
MOST_ITEMS = 1 << ITEM_BITS
"""Items a record can have. Positions stay below 2**53, which is all that JavaScript counts, for 2**37 records."""

LATER = MOST_ITEMS // 2
"""Items from here on are what a clock adds after a record: no record of bars has so many."""


def position(offset: int, item: int) -> int:
    """The position of the record's item number `item`. Raises ValueError for an item that no record can have."""
    if not 0 <= item < MOST_ITEMS:
        raise ValueError("the record has too many items")
    return offset << ITEM_BITS | item


def before(offset: int) -> int:
    """The last position before the record."""
    return (offset << ITEM_BITS) - 1
