"""What a ring holds, by key: so that a replay knows of what it reads from history whether the ring will tell it too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from crosstape.stream_hub.ring import Ring

Entry = TypeVar("Entry")
Key = TypeVar("Key")


class Kept(Generic[Entry, Key]):
    """The keys of a ring's entries. Only what came since the last look is read: a whole ring takes as long as thousands
    of messages. What has left the ring is forgotten, however long a replay lasts."""

    def __init__(self, ring: Ring[Entry], key: Callable[[Entry], Key]):
        self._ring = ring
        self._key = key
        self._places: OrderedDict[Key, int] = OrderedDict()  # each key's newest, by place
        self._seen: int | None = None

    def now(self) -> Collection[Key]:
        """Those of now, and of later looks as they are made."""
        ring, places = self._ring, self._places
        new = None if self._seen is None or self._seen > ring.newest else ring.after(self._seen)
        if new is None:
            places.clear()
        for place, entry in ring if new is None else new:
            key = self._key(entry)
            places[key] = place
            places.move_to_end(key)
        while places and next(iter(places.values())) <= ring.floor:
            places.popitem(last=False)
        self._seen = ring.newest
        return places
