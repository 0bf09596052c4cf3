"""Ring: the last messages of a channel, for clients that come back.

All but the newest are kept packed. As objects, the trades of a few minutes would take six times the memory, and the
garbage collector's time as well.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import Any, Generic, TypeVar

import msgspec

Entry = TypeVar("Entry")

BLOCK = 64
"""Entries packed as one."""

_encode = msgspec.msgpack.Encoder().encode


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(list[kind])


class _Block(Generic[Entry]):
    """Entries next to each other; once it is `packed` they are in there, and `entries` is empty."""

    __slots__ = ("entries", "packed", "places", "times")

    def __init__(self) -> None:
        self.places = array("q")
        self.times = array("q")
        self.entries: list[Entry] = []
        self.packed = b""

    def pack(self) -> None:
        """From now on the entries are read from their bytes."""
        self.packed = _encode(self.entries)
        self.entries = []


class Ring(Generic[Entry]):
    """Entries (a `kind` that MessagePack can hold) by growing position, at most `size` of them and none older than
    `seconds`.

    `floor`: every entry behind it is here, so a client that has everything up to a position from `floor` on can be
    given all it missed. `last` is the newest entry.
    """

    def __init__(self, kind: Any, size: int, seconds: float, floor: int):
        self._decode = _decoder(kind).decode
        self._size = size
        self._lifetime_ms = int(seconds * 1000)
        self.restart(floor)

    def restart(self, floor: int) -> None:
        """Begin anew: the positions of before mean nothing any more."""
        self._blocks: deque[_Block[Entry]] = deque([_Block()])
        self._gone = 0  # of the first block's entries
        self._count = 0
        self.floor = floor
        self.last: Entry | None = None

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        return ((place, entry) for place, _, entry in self.timed())

    def timed(self) -> Iterator[tuple[int, int, Entry]]:
        """The entries, oldest first, with their positions and the times (ms) of their records."""
        gone = self._gone
        for block in self._blocks:
            yield from zip(block.places[gone:], block.times[gone:], self._read(block)[gone:], strict=True)
            gone = 0

    @property
    def newest(self) -> int:
        """The position up to which everything has been seen."""
        return self._blocks[-1].places[-1] if self._count else self.floor

    def append(self, place: int, time_ms: int, entry: Entry) -> None:
        """Add what follows at `place`; `time_ms` is its record's time, by which it ages."""
        block = self._blocks[-1]
        if len(block.places) == BLOCK:
            block.pack()
            block = _Block()
            self._blocks.append(block)
        block.places.append(place)
        block.times.append(time_ms)
        block.entries.append(entry)
        self._count += 1
        self.last = entry
        oldest = time_ms - self._lifetime_ms
        while self._count > self._size or self._blocks[0].times[self._gone] < oldest:
            self._drop()

    def _drop(self) -> None:
        """Let the oldest go; the newest never is."""
        places = self._blocks[0].places
        self.floor = places[self._gone]
        self._gone += 1
        self._count -= 1
        if self._gone == len(places):
            self._blocks.popleft()
            self._gone = 0

    def reaches(self, place: int) -> bool:
        """Whether every entry behind `place` is here."""
        return place >= self.floor

    def after(self, place: int, most: int | None = None) -> list[tuple[int, Entry]] | None:
        """The entries behind `place`, oldest first, and no more than `most`; None when some of them may be gone."""
        if not self.reaches(place):
            return None
        missed: list[tuple[int, Entry]] = []
        for block in self._from(lambda block: block.places, place + 1):
            first = bisect_right(block.places, place)
            missed += zip(block.places[first:], self._read(block)[first:], strict=True)
            if most is not None and len(missed) >= most:
                return missed[:most]
        return missed

    @property
    def oldest_ms(self) -> int | None:
        """The time of the oldest entry's record; None when there is none."""
        return self._blocks[0].times[self._gone] if self._count else None

    def since(self, time_ms: int) -> list[Entry]:
        """The entries whose records are not older than `time_ms`, oldest first."""
        return [
            entry
            for block in self._from(lambda block: block.times, time_ms)
            for place, time, entry in zip(block.places, block.times, self._read(block), strict=True)
            if time >= time_ms and place > self.floor
        ]

    def rewrite(self, change: Callable[[list[Entry]], None]) -> None:
        """Have `change` alter the entries, which it gets oldest first."""
        contents = [self._read(block) for block in self._blocks]
        change(list(chain.from_iterable(contents))[self._gone :])
        for block, entries in zip(self._blocks, contents, strict=True):
            if block.packed:
                block.packed = _encode(entries)

    def _from(self, column: Callable[[_Block[Entry]], array[int]], least: int) -> list[_Block[Entry]]:
        """The blocks that may have entries of which `column` is `least` or more, oldest first."""
        found: list[_Block[Entry]] = []
        for block in reversed(self._blocks):
            if not block.places or column(block)[-1] < least:
                break
            found.append(block)
        return found[::-1]

    def _read(self, block: _Block[Entry]) -> list[Entry]:
        return self._decode(block.packed) if block.packed else block.entries
