"""Ranges of numbers: united, asked, taken away from one another. Pure; for times and for ids."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

Span = tuple[int, int]


class Spans:
    """The union of half-open ranges [start, end)."""

    def __init__(self, ranges: Iterable[Span]):
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(ranges):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            elif start < end:
                self._starts.append(start)
                self._ends.append(end)

    def __iter__(self) -> Iterator[Span]:
        return zip(self._starts, self._ends, strict=True)

    def covers(self, start: int, end: int) -> bool:
        """Whether all of [start, end) lies in it."""
        place = bisect.bisect_right(self._starts, start) - 1
        return place >= 0 and end <= self._ends[place]

    def lacking(self, start: int, end: int) -> list[Span]:
        """The parts of [start, end) that do not lie in it."""
        parts: list[Span] = []
        place = max(0, bisect.bisect_right(self._starts, start) - 1)
        for held_from, held_to in zip(self._starts[place:], self._ends[place:], strict=True):
            if held_from >= end:
                break
            if start < held_from:
                parts.append((start, held_from))
            start = max(start, held_to)
        if start < end:
            parts.append((start, end))
        return parts
