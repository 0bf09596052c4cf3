"""Ring: the last messages of a channel, for clients that come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Ring(Generic[Entry]):
    """Entries by growing position, at most `size` of them and none older than `seconds`.

    `floor`: every entry behind it is here, so a client that has everything up to a position from `floor` on can be
    given all it missed.
    """

    def __init__(self, size: int, seconds: float, floor: int):
        self._size = size
        self._lifetime_ms = int(seconds * 1000)
        self._entries: deque[tuple[int, int, Entry]] = deque()
        self.floor = floor

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        return ((place, entry) for place, _, entry in self._entries)

    @property
    def newest(self) -> int:
        """The position up to which everything has been seen."""
        return self._entries[-1][0] if self._entries else self.floor

    def append(self, place: int, time_ms: int, entry: Entry) -> None:
        """Add what follows at `place`; `time_ms` is its record's time, by which it ages."""
        entries = self._entries
        entries.append((place, time_ms, entry))
        oldest = time_ms - self._lifetime_ms
        while len(entries) > self._size or entries[0][1] < oldest:
            self.floor = entries.popleft()[0]

    def after(self, place: int) -> list[tuple[int, Entry]] | None:
        """The entries behind `place`, oldest first; None when some of them may be gone."""
        if place < self.floor:
            return None
        missed: list[tuple[int, Entry]] = []
        for found, _, entry in reversed(self._entries):
            if found <= place:
                break
            missed.append((found, entry))
        return missed[::-1]

    def restart(self, floor: int) -> None:
        """Begin anew: the positions of before mean nothing any more."""
        self._entries.clear()
        self.floor = floor
