"""The volume delta of one symbol's day so far, exchange by exchange. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.trade import Trade
from crosstape.stream_hub.flow import DAY
from crosstape.stream_hub.numbers import EXACT, ZERO


def day_of(nanoseconds: int) -> int:
    """The UTC day, counted from the epoch."""
    return nanoseconds // NANOSECONDS // DAY


class DaySums:
    """Sums by exchange, None where one is not known, all of one UTC day (since the epoch): the latest of which there
    was a trade, and none that has not begun, as a wrong clock would date it.

    An exchange that has not traded yet on that day stands at zero, not at what it had the day before.
    """

    def __init__(self, sums: Mapping[str, Decimal | None], day: int):
        self._sums = dict(sums)
        self._day = day

    def stand(self, trade: Trade, cvd: Decimal | None, now: int) -> dict[str, Decimal | None]:
        """The sums after `trade` at `now` (ns), with which its exchange's day stands at `cvd`."""
        if self._counts(trade, now):
            self._sums[trade.exchange] = cvd
        return dict(self._sums)

    def add(self, trade: Trade, volume_delta: Decimal, now: int) -> dict[str, Decimal | None]:
        """The sums after `trade` at `now` (ns), which adds `volume_delta` to its exchange's."""
        if self._counts(trade, now):
            self._sums[trade.exchange] = EXACT.add(self._sums[trade.exchange] or ZERO, volume_delta)
        return dict(self._sums)

    def _counts(self, trade: Trade, now: int) -> bool:
        """Whether `trade` is of the day. The first one of a later day begins that."""
        day = day_of(trade.time)
        if self._day < day <= day_of(now):
            self._day = day
            self._sums = {exchange: None if known is None else ZERO for exchange, known in self._sums.items()}
        return day == self._day
