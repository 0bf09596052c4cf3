"""Subscribers through the SDK, as a user writes them: each notes what it was told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from crosstape.client import (
    AsyncClient,
    BarClose,
    ConnectionFailed,
    ConsolidatedBookEvent,
    CvdSnapshot,
    CvdTick,
    Disconnected,
    Gap,
    Recovered,
    Refused,
    Subscribed,
    TradeEvent,
    Unavailable,
    WrongBook,
)
from crosstape.client.bars import Bar
from tests.soak.judge import Step, Told

SLACK_SECONDS = 1.0
LOST_SECONDS = 30.0
"""So long a connection may have been dead before it was seen: the SDK pings every 15 s."""


@dataclass
class TradeListener:
    """Trades of several channels on one socket. `latencies` are seconds from the trade's own time to here, of trades
    that came in order; `repaired` of those that came behind a later one of their market."""

    channels: Sequence[str]
    told: dict[str, Told] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    repaired: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    connections_lost: int = 0

    async def run(self, client: AsyncClient) -> None:
        """Listen until cancelled."""
        newest: dict[str, float] = {}
        lost_at: float | None = None
        async with client.stream() as stream:
            await stream.subscribe(*self.channels)
            async for event in stream:
                now = time.time()
                match event:
                    case TradeEvent(channel=channel, trade_id=trade_id, timestamp=timestamp):
                        told = float(timestamp)
                        self.told[channel].ids.append(str(trade_id))
                        is_late = told < newest.get(channel, 0.0)
                        (self.repaired if is_late else self.latencies).append(now - told)
                        newest[channel] = max(told, newest.get(channel, 0.0))
                        lost_at = None
                    case Subscribed(channel=channel):
                        self.told.setdefault(channel, Told(now + SLACK_SECONDS))
                    case Recovered(channel=channel):
                        self.told[channel].recovered += 1
                    case Gap(channel=channel):
                        since = (lost_at or now) - LOST_SECONDS
                        self.told[channel].gaps.append((since, now + SLACK_SECONDS))
                    case Disconnected():
                        self.connections_lost += lost_at is None
                        lost_at = lost_at or now
                    case Refused(error_code=code):
                        self.refused[code] += 1


@dataclass
class BookListener:
    """The consolidated book of one symbol; the SDK verifies every checksum."""

    symbol: str
    books: int = 0
    wrong: int = 0
    most_exchanges: int = 0

    async def run(self, client: AsyncClient) -> None:
        """Listen until cancelled."""
        async with client.stream() as stream:
            await stream.subscribe(f"book:*:{self.symbol}")
            async for event in stream:
                match event:
                    case ConsolidatedBookEvent(book=book):
                        self.books += 1
                        self.most_exchanges = max(self.most_exchanges, len(book.venues))
                    case WrongBook():
                        self.wrong += 1


@dataclass
class CvdListener:
    """The running volume delta of one market."""

    exchange: str
    symbol: str
    steps: list[Step] = field(default_factory=list)
    snapshots: int = 0

    async def run(self, client: AsyncClient) -> None:
        """Listen until cancelled."""
        async with client.cvd(self.exchange, self.symbol) as feed:
            async for event in feed:
                match event:
                    case CvdSnapshot(cvd=cvd):
                        self.snapshots += 1
                        self.steps.append(Step("", None, cvd))
                    case CvdTick(trade_id=trade_id, volume_delta=delta, cvd=cvd):
                        self.steps.append(Step(str(trade_id), delta, cvd))


@dataclass
class BarListener:
    """Closed minutes; REST is asked for each as soon as it is told. A bar that was revised meanwhile is newer there."""

    markets: Sequence[tuple[str, str]]
    told: int = 0
    unasked: int = 0
    wrong: list[str] = field(default_factory=list)

    async def run(self, client: AsyncClient) -> None:
        """Listen until cancelled."""
        async with client.stream() as stream:
            await stream.subscribe(*(f"bars:{exchange}:{symbol}:1m" for exchange, symbol in self.markets))
            async for event in stream:
                if isinstance(event, BarClose):
                    self.told += 1
                    _, exchange, symbol, _ = event.channel.split(":")
                    await self._compare(client, exchange, symbol, event.bar)

    async def _compare(self, client: AsyncClient, exchange: str, symbol: str, told: Bar) -> None:
        start = told.timestamp
        try:
            rows = await client.ohlcv(exchange, symbol, start=start, end=start + 60).all()
        except (ConnectionFailed, Unavailable) as error:  # a part was just killed: nothing can be asked
            if isinstance(error, Unavailable) and error.error_code == "INTERNAL_ERROR":
                raise
            self.unasked += 1
            return
        if [bar for bar in rows if bar == told or bar.revision > told.revision]:
            return
        self.wrong.append(f"{exchange} {symbol}: told {told}, REST says {rows}")
