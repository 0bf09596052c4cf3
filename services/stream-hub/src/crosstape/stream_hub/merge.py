"""Merging by event time: several feeds, each in its own order, as one. Pure: time comes from outside."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class Released(NamedTuple, Generic[Item]):
    """An item in its place; `is_late` when one with a later event time was released before."""

    item: Item
    is_late: bool


class _Held(NamedTuple, Generic[Item]):
    time: int
    offered: float
    item: Item


class TimeMerge(Generic[Item]):
    """Holds an item back until every other source has shown a later one, or for `hold` seconds.

    The order within a source is kept, so what was released of a source is always the beginning of what it offered.
    """

    def __init__(self, sources: Iterable[str], hold: float):
        self._queues: dict[str, deque[_Held[Item]]] = {source: deque() for source in sources}
        self._hold = hold
        self._newest = 0

    def offer(self, source: str, time: int, item: Item, now: float) -> None:
        """`item` with event time `time` came from `source` at `now` (s)."""
        self._queues[source].append(_Held(time, now, item))

    def take(self, now: float) -> list[Released[Item]]:
        """What is due at `now`, in order."""
        released: list[Released[Item]] = []
        while (queue := self._next()) is not None:
            if queue[0].offered + self._hold > now and not all(self._queues.values()):
                break
            released.append(self._release(queue))
        return released

    def drain(self) -> list[Released[Item]]:
        """Everything that is held, in order."""
        released: list[Released[Item]] = []
        while (queue := self._next()) is not None:
            released.append(self._release(queue))
        return released

    def wait(self, now: float) -> float | None:
        """Seconds from `now` until something is due; None when nothing is held."""
        queue = self._next()
        return None if queue is None else max(0.0, queue[0].offered + self._hold - now)

    def _next(self) -> deque[_Held[Item]] | None:
        return min((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0].time, default=None)

    def _release(self, queue: deque[_Held[Item]]) -> Released[Item]:
        held = queue.popleft()
        is_late = held.time < self._newest
        self._newest = max(held.time, self._newest)
        return Released(held.item, is_late)
