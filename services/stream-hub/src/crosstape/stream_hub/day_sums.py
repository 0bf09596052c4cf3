"""The volume delta of one symbol's day so far, exchange by exchange. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.trade import Trade
from crosstape.stream_hub.flow import DAY
from crosstape.stream_hub.numbers import ZERO


class DaySums:
    """`sums` by exchange, None where one is not known, all of one UTC day: the latest of which there was a trade.

    An exchange that has not traded yet on that day stands at zero, not at what it had the day before.
    """

    def __init__(self, sums: Mapping[str, Decimal | None], day: int):
        self.sums = dict(sums)
        self._day = day

    def counts(self, trade: Trade) -> bool:
        """Whether `trade` is of that day. The first trade of a later one begins it."""
        day = trade.time // NANOSECONDS // DAY
        if day > self._day:
            self._day = day
            self.sums = {exchange: None if known is None else ZERO for exchange, known in self.sums.items()}
        return day == self._day
