"""Which trade ids are missing: pure, one object per market whose exchange numbers its trades."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from msgspec import Struct


class Hole(Struct, frozen=True, array_like=True):
    """Missing ids [first_id, last_id]; exchange time (ns) of the neighbours bounds when they happened."""

    first_id: int
    last_id: int
    start: int
    end: int

    def __len__(self) -> int:
        return self.last_id - self.first_id + 1

    def without(self, ranges: Iterable[tuple[int, int]]) -> list[Hole]:
        """What is left, ascending, once the ids of `ranges` (first, last) are taken out."""
        left: list[Hole] = []
        first_id = self.first_id
        for taken_first, taken_last in [*sorted(ranges), (self.last_id + 1, self.last_id + 1)]:
            last_id = min(taken_first - 1, self.last_id)
            if first_id <= last_id:
                left.append(Hole(first_id, last_id, self.start, self.end))
            first_id = max(first_id, taken_last + 1)
        return left


class TradeSequence:
    """Follows the ids of one market. Every id from the first observed to `newest_id` was observed or is in `holes`.

    Ids before the first observed are not followed; `resume` counts all of them after the tape's end as missing, also
    the few that a reordering socket may have brought late: fetching a trade twice is harmless.
    """

    def __init__(self) -> None:
        self.newest_id: int | None = None
        self.newest_time = 0
        self._oldest_id, self._oldest_time = 0, 0
        self._holes: list[Hole] = []

    @property
    def holes(self) -> tuple[Hole, ...]:
        """What is missing now, ascending."""
        return tuple(self._holes)

    def observe(self, trade_id: int, time: int) -> Hole | None:
        """Note one trade; returns the hole it reveals in front of itself."""
        newest = self.newest_id
        if newest is None:
            self.newest_id, self.newest_time = self._oldest_id, self._oldest_time = trade_id, time
            return None
        if trade_id == newest + 1:
            self.newest_id, self.newest_time = trade_id, time
            return None
        if trade_id > newest:
            hole = Hole(newest + 1, trade_id - 1, self.newest_time, time)
            self._holes.append(hole)
            self.newest_id, self.newest_time = trade_id, time
            return hole
        if self._holes:
            self.close(trade_id, trade_id)
        return None

    def lacks(self, trade_id: int) -> bool:
        """Whether `trade_id` is newer than all observed, or in a hole."""
        if self.newest_id is None or trade_id > self.newest_id:
            return True
        index = bisect_right(self._holes, trade_id, key=lambda hole: hole.first_id) - 1
        return index >= 0 and trade_id <= self._holes[index].last_id

    def has_met(self, trade_id: int) -> bool:
        """Whether `trade_id` lies behind the first observed, so that all since then is followed."""
        return self.newest_id is not None and trade_id >= self._oldest_id

    def resume(self, stored_id: int, stored_time: int) -> Hole | None:
        """The tape ends at `stored_id`. Returns the hole between it and the first id observed since."""
        if self.newest_id is None:
            self.newest_id, self.newest_time = self._oldest_id, self._oldest_time = stored_id, stored_time
            return None
        if stored_id >= self._oldest_id - 1:
            return None
        hole = Hole(stored_id + 1, self._oldest_id - 1, stored_time, self.newest_time)
        self._oldest_id, self._oldest_time = stored_id, stored_time
        self._holes.insert(0, hole)
        return hole

    def followed(self, after_id: int, after_time: int, before_id: int, before_time: int) -> list[Hole]:
        """What was observed between two trades, as far as it is followed."""
        first_id, start = max(after_id + 1, self._oldest_id), max(after_time, self._oldest_time)
        between = Hole(first_id, before_id - 1, start, before_time)
        return between.without((hole.first_id, hole.last_id) for hole in self._holes)

    def reopen(self, hole: Hole) -> Hole | None:
        """The tape lacks ids that were observed: they are missing again. None when one is missing already."""
        if (
            self.newest_id is None
            or hole.last_id > self.newest_id
            or any(known.first_id <= hole.last_id and hole.first_id <= known.last_id for known in self._holes)
        ):
            return None
        self._holes.append(hole)
        self._holes.sort(key=lambda known: known.first_id)
        return hole

    def close(self, first_id: int, last_id: int) -> None:
        """Ids [first_id, last_id] are no longer missing: observed, or the exchange says they do not exist."""
        index = max(0, bisect_right(self._holes, first_id, key=lambda hole: hole.first_id) - 1)
        while index < len(self._holes) and self._holes[index].first_id <= last_id:
            hole = self._holes[index]
            if hole.last_id < first_id:
                index += 1
                continue
            left = [Hole(hole.first_id, first_id - 1, hole.start, hole.end)] if hole.first_id < first_id else []
            right = [Hole(last_id + 1, hole.last_id, hole.start, hole.end)] if last_id < hole.last_id else []
            self._holes[index : index + 1] = left + right
            index += len(left) + len(right)

    def missing_in(self, hole: Hole) -> list[Hole]:
        """What is still missing of `hole`."""
        return [
            Hole(max(known.first_id, hole.first_id), min(known.last_id, hole.last_id), hole.start, hole.end)
            for known in self._holes
            if known.first_id <= hole.last_id and hole.first_id <= known.last_id
        ]
