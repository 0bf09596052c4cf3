"""Which revision of each of an interval's latest bars was told. In arrays: as a dict, two hours of seconds of a hundred
markets would be a hundred megabytes."""

from __future__ import annotations

from array import array


class Told:
    """Of bars of `step` seconds those of the last `window` seconds, by what was told; older ones are forgotten."""

    __slots__ = ("_opens", "_revisions", "_step")

    def __init__(self, step: int, window: int) -> None:
        self._step = step
        self._opens = array("q", [-1]) * (window // step)
        self._revisions = array("q", [0]) * (window // step)

    def revision(self, open_time: int) -> int | None:
        """The revision told of the bar that opens then (Unix s); None when none was, or it is forgotten."""
        place = self._place(open_time)
        return self._revisions[place] if self._opens[place] == open_time else None

    def tell(self, open_time: int, revision: int) -> None:
        """It is told now. Of a bar older than the window nothing is kept."""
        place = self._place(open_time)
        if self._opens[place] <= open_time:
            self._opens[place], self._revisions[place] = open_time, revision

    def _place(self, open_time: int) -> int:
        return open_time // self._step % len(self._opens)
