"""The newest candles as the exchanges just told them, so that who asks again and again does not ask an exchange."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cachetools import TTLCache

from crosstape.exchanges.dialect import Kline

FRESH_SECONDS = 5.0
MOST_MARKETS = 1_000

Place = tuple[str, ...]
"""Exchange, symbol, interval."""


class NewestKlines:
    """For some seconds, each market's candles that are not kept yet; times of candles are in ms, `clock` is in s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._told: TTLCache[Place, tuple[int, Sequence[Kline]]] = TTLCache(MOST_MARKETS, FRESH_SECONDS, clock)

    def remember(self, place: Place, since: int, klines: Sequence[Kline]) -> None:
        """`klines` are all that open from `since` on."""
        self._told[place] = since, klines

    def find(self, place: Place, start: int) -> list[Kline] | None:
        """Those that open from `start` on; None where the exchange must be asked."""
        told = self._told.get(place)
        if told is None or start < told[0]:
            return None
        return [kline for kline in told[1] if kline.open_time >= start]
