"""What the tests of repair and audit put in place of the bus and the exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from crosstape.common.errors import ExchangeError
from crosstape.common.market.ledger import Gap, GapState, LedgerEvent
from crosstape.common.market.trade import Source, Trade, TradeId
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery

Answer = Callable[[HistoryQuery], Iterable[HistoryPage | ExchangeError]]


class Bus:
    """A publisher that keeps what it is given, and has room while `has_room` is set."""

    def __init__(self) -> None:
        self.published: list[Trade] = []
        self.refused: list[Trade] = []
        self.told: list[LedgerEvent] = []
        self.has_room = asyncio.Event()
        self.has_room.set()

    def trade(self, one: Trade, source: Source) -> None:
        self.published.append(one)

    def refuse(self, rows: Sequence[Trade]) -> None:
        self.refused += rows

    def ledger(self, event: LedgerEvent) -> None:
        self.told.append(event)

    async def room(self) -> None:
        await self.has_room.wait()

    @property
    def ids(self) -> list[TradeId]:
        """Of what was published, in its order."""
        return [trade.trade_id for trade in self.published]

    def holes(self, state: GapState) -> list[tuple[int | None, int | None]]:
        """The ids of the gaps that were told to be in `state`."""
        return [(gap.first_id, gap.last_id) for gap in self.told if isinstance(gap, Gap) and gap.state is state]


class Exchange:
    """Its history answers a query with the pages that `answer` gives; an error among them is raised."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.queries: list[HistoryQuery] = []

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        self.queries.append(query)
        for page in self.answer(query):
            if isinstance(page, ExchangeError):
                raise page
            yield page


class Sent:
    """A producer that keeps what it is given; what it is sent is taken once `taken` is set."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.delivered: list[Any] = []
        self.taken = asyncio.Event()

    async def send(self, topic: object, key: bytes, record: object) -> None:
        self.records.append(record)

    async def deliver(self, topic: object, key: bytes, record: object) -> None:
        self.delivered.append((record, len(self.records)))

    async def flush(self) -> None:
        await self.taken.wait()


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds, and fail after a while."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
