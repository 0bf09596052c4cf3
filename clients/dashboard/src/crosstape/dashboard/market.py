"""One market, followed live: its bars, its tape and its running volume delta."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from crosstape.client import (
    Bar,
    BarClose,
    BarRevision,
    Client,
    CrosstapeError,
    CvdEvent,
    CvdSnapshot,
    CvdTick,
    Refused,
    Unknown,
)
from crosstape.client.bars import Interval
from crosstape.dashboard.bars import BarSeries
from crosstape.dashboard.follower import Follower, Link
from crosstape.dashboard.intervals import open_of

HISTORY_BARS = 600
TAPE_TRADES = 120
DAY_SECONDS = 10.0
"""The day's own bar is read again so often."""


@dataclass(frozen=True, slots=True)
class Market:
    """What is looked at."""

    exchange: str
    symbol: str
    interval: Interval


@dataclass(frozen=True, slots=True)
class MarketState:
    """A market at one moment. `trades` are newest first; `version` changes when older bars did."""

    market: Market
    link: Link
    bars: Sequence[Bar]
    version: int
    cvd: Decimal | None
    trades: Sequence[CvdTick]


class MarketFeed:
    """Follows `market` from `start` to `close`."""

    def __init__(self, client: Client, market: Market) -> None:
        self.market = market
        self._client = client
        self._lock = threading.Lock()
        self._series = BarSeries(market.interval)
        self._tape: deque[CvdTick] = deque(maxlen=TAPE_TRADES)
        self._cvd: Decimal | None = None
        self._looked_before: int | None = None
        self._day: Bar | None = None
        self._day_due = 0.0
        self._follower: Follower[CvdEvent] = Follower(
            "market",
            lambda: client.cvd(market.exchange, market.symbol, interval=market.interval),
            self._take,
        )

    def start(self) -> None:
        self._follower.start()

    def close(self) -> None:
        self._follower.close()

    def state(self) -> MarketState:
        """What is known now."""
        with self._lock:
            return MarketState(
                self.market,
                self._follower.link,
                tuple(self._series.bars),
                self._series.version,
                self._cvd,
                tuple(reversed(self._tape)),
            )

    def today(self) -> Bar | None:
        """The bar of this day (UTC) as it was up to DAY_SECONDS ago; None when nobody traded or it cannot be had."""
        with self._lock:
            is_due = time.monotonic() >= self._day_due
            if is_due:
                self._day_due = time.monotonic() + DAY_SECONDS
        if is_due:
            day = self._newest_day()
            with self._lock:
                self._day = day
        with self._lock:
            return self._day if self._day and self._day.timestamp == open_of(int(time.time()), "1d") else None

    def load_older(self, before: int) -> None:
        """Fetch bars that lie before `before`, once, if that is the first one. Raises CrosstapeError."""
        with self._lock:
            is_first = bool(self._series.bars) and self._series.bars[0].timestamp == before
            if not is_first or self._looked_before == before:
                return
            self._looked_before = before
        market = self.market
        try:
            older = self._client.ohlcv(
                market.exchange, market.symbol, interval=market.interval, end=before, limit=HISTORY_BARS
            ).all()
        except CrosstapeError:
            with self._lock:
                self._looked_before = None
            raise
        with self._lock:
            self._series.prepend(older)

    def _newest_day(self) -> Bar | None:
        market = self.market
        try:
            found = self._client.ohlcv(market.exchange, market.symbol, interval="1d", limit=1).all()
        except CrosstapeError:
            return None
        return found[-1] if found else None

    def _take(self, event: CvdEvent | Refused) -> None:
        match event:
            case CvdSnapshot():
                self._begin(event)
            case CvdTick():
                with self._lock:
                    self._cvd = event.cvd
                    self._tape.append(event)
                    self._series.tick(event)
            case BarClose(bar=bar) | BarRevision(bar=bar):
                with self._lock:
                    self._series.put(bar)
            case Unknown() | Refused():
                pass  # nothing that a chart shows

    def _begin(self, snapshot: CvdSnapshot) -> None:
        """History is read between the snapshot and the first trade after it, which waits in the feed's buffer."""
        now = int(time.time())
        market = self.market
        history = self._client.ohlcv(market.exchange, market.symbol, interval=market.interval, limit=HISTORY_BARS).all()
        with self._lock:
            self._cvd = snapshot.cvd
            self._series.begin(history, snapshot.bar, now)
