"""Which ids each market's newest minutes hold, and so which other minutes a batch may take trades from. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from crosstape.history.sink.rows import MinuteRows
from crosstape.history.sink.touched import Market, Minute

REMEMBERED_MINUTES = 4


class IdRanges:
    """Which ids each market's newest minutes hold.

    A copy of a trade may say another time than the copy before it, and win: then the trade leaves a minute that the
    batch does not name. Ids grow with time, so a batch whose ids lie where another minute's do says which.
    """

    def __init__(self) -> None:
        self._newest: dict[Market, int] = {}
        self._minutes: dict[Market, dict[int, tuple[int, int]]] = {}

    def unknown(self, minutes: Iterable[MinuteRows]) -> list[Market]:
        """The markets that were not seen yet: `learn` their newest id first."""
        seen = dict.fromkeys((rows.exchange, rows.symbol) for rows in minutes)
        return [market for market in seen if market not in self._newest]

    def learn(self, market: Market, newest: int) -> None:
        """The store's greatest id of `market` is `newest`; -1 when it has none."""
        self._newest[market] = newest
        self._minutes[market] = {}

    def is_behind(self, rows: MinuteRows) -> bool:
        """Whether newer trades of the market are stored than all of `rows`."""
        return rows.last_seq < self._newest[rows.exchange, rows.symbol]

    def overlapped(self, rows: MinuteRows) -> list[Minute] | None:
        """The other minutes that hold ids among those of `rows`, or None when only the store can tell."""
        market = (rows.exchange, rows.symbol)
        known = self._minutes[market]
        if rows.first_seq <= self._newest[market] and rows.minute not in known:
            return None
        return [
            (*market, minute)
            for minute, (first, last) in known.items()
            if minute != rows.minute and first <= rows.last_seq and rows.first_seq <= last
        ]

    def add(self, minutes: Iterable[MinuteRows]) -> None:
        """`minutes` are stored now."""
        for rows in minutes:
            market = (rows.exchange, rows.symbol)
            self._newest[market] = max(rows.last_seq, self._newest[market])
            known = self._minutes[market]
            first, last = known.get(rows.minute, (rows.first_seq, rows.last_seq))
            known[rows.minute] = (min(first, rows.first_seq), max(last, rows.last_seq))
            if len(known) > REMEMBERED_MINUTES:
                del known[min(known)]
