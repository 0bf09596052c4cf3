"""A market that only ccxt knows, and what stands in for ccxt and the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage, Gap, GapState, LedgerEvent
from crosstape.common.market.trade import Source, Trade
from crosstape.exchanges.ccxt_generic import CcxtExchange
from crosstape.ingestor.generic import GenericFeed
from crosstape.ingestor.publish import Publisher

INSTRUMENT = Instrument("gate", "BTC_USDT", "BTC", "USDT", stream_symbol="BTC/USDT")
SECOND = 1_000_000_000


class ArgumentsRequired(Exception):
    """ccxt's, by its name."""


def raw(number: int, time_ns: int) -> dict[str, Any]:
    return {"id": str(number), "timestamp": time_ns // 1_000_000, "price": "1", "amount": "1", "side": "buy"}


class Client:
    """A ccxt client whose history is the newest `reach` trades, whatever time is asked for: ccxt drops the older ones.

    `refuses` says with which error it answers a request for trades since a time, if it does.
    """

    def __init__(self, reach: int = 500):
        self.stream: asyncio.Queue[list[dict[str, Any]] | Exception] = asyncio.Queue()
        self.history: list[dict[str, Any]] = []
        self.reach = reach
        self.refuses: Callable[[int | None], Exception | None] = lambda since: None

    async def watch_trades(self, symbol: str) -> list[dict[str, Any]]:
        said = await self.stream.get()
        if isinstance(said, Exception):
            raise said
        return said

    async def fetch_trades(self, symbol: str, since: int | None, limit: int) -> list[dict[str, Any]]:
        if (error := self.refuses(since)) is not None:
            raise error
        return [trade for trade in self.history[-self.reach :] if since is None or trade["timestamp"] >= since]


class Bus:
    def __init__(self) -> None:
        self.published: list[tuple[int, Source]] = []
        self.refused: list[int] = []
        self.told: list[LedgerEvent] = []
        self.room_again = asyncio.Event()
        self.room_again.set()

    @property
    def has_room(self) -> bool:
        return self.room_again.is_set()

    async def room(self) -> None:
        await self.room_again.wait()

    def trade(self, trade: Trade, source: Source = Source.STREAM) -> None:
        self.published.append((int(trade.trade_id), source))

    def refuse(self, rows: Sequence[Trade]) -> None:
        self.refused += [int(trade.trade_id) for trade in rows]

    def ledger(self, event: LedgerEvent) -> None:
        self.told.append(event)

    @property
    def numbers(self) -> list[int]:
        """Of the trades that the exchange's history brought."""
        return [number for number, source in self.published if source is Source.HISTORY]

    @property
    def ended(self) -> list[tuple[GapState, int, int, int]]:
        """How outages ended: state, start, end, trades."""
        gaps = [event for event in self.told if isinstance(event, Gap) and event.state is not GapState.OPEN]
        return [(gap.state, gap.start, gap.end, gap.trades) for gap in gaps]

    def vouches_for(self, start: int, end: int) -> bool:
        return any(isinstance(e, Coverage) and e.start <= start and e.end >= end for e in self.told)


@asynccontextmanager
async def following(client: Client) -> AsyncIterator[tuple[GenericFeed, Bus]]:
    bus = Bus()
    feed = GenericFeed(CcxtExchange("gate", client), INSTRUMENT, cast(Publisher, bus))
    tasks = [asyncio.create_task(part) for part in (feed.run(), feed.repair.run())]
    try:
        yield feed, bus
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def heard(client: Client, bus: Bus, number: int) -> None:
    """Have the socket bring trade `number`, which the history holds."""
    await client.stream.put([one for one in client.history if one["id"] == str(number)])
    await until(lambda: (number, Source.STREAM) in bus.published)
