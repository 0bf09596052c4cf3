"""What an exchange through ccxt missed: what is fetched, what is given up by name, and that no market waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import structlog

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage, Gap, GapState, LedgerEvent
from crosstape.common.market.trade import Source, Trade
from crosstape.exchanges.ccxt_generic import CcxtExchange
from crosstape.ingestor import generic
from crosstape.ingestor.generic import GenericFeed
from crosstape.ingestor.intervals import Outage
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

    def trade(self, trade: Trade, source: Source = Source.STREAM) -> None:
        self.published.append((int(trade.trade_id), source))

    def refuse(self, rows: Sequence[Trade]) -> None:
        self.refused += [int(trade.trade_id) for trade in rows]

    def ledger(self, event: LedgerEvent) -> None:
        self.told.append(event)

    @property
    def ended(self) -> list[tuple[GapState, int, int, int]]:
        """How outages ended: state, start, end, trades."""
        gaps = [event for event in self.told if isinstance(event, Gap) and event.state is not GapState.OPEN]
        return [(gap.state, gap.start, gap.end, gap.trades) for gap in gaps]

    def vouches_for(self, start: int, end: int) -> bool:
        return any(isinstance(e, Coverage) and e.start <= start and e.end >= end for e in self.told)


@pytest.fixture(autouse=True)
def current_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generic, "HISTORY_LAG", 0)


@asynccontextmanager
async def following(client: Client) -> AsyncIterator[tuple[GenericFeed, Bus]]:
    bus = Bus()
    feed = GenericFeed(CcxtExchange("gate", client), INSTRUMENT, cast(Publisher, bus))
    tasks = [asyncio.create_task(part) for part in (feed.run(), feed.repair())]
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


async def test_a_trade_that_was_under_way_when_the_socket_broke_is_published_once() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    async with following(client) as (feed, bus):
        await heard(client, bus, 5)
        connected = feed.market.connected_since
        await heard(client, bus, 6)
        received = feed.market.last_trade_received
        await client.stream.put(ConnectionError("closed"))
        await heard(client, bus, 8)
        await until(lambda: bus.ended)
    assert sorted(number for number, _ in bus.published if number > 6) == [7, 8]
    assert (7, Source.HISTORY) in bus.published
    ((state, start, _, _),) = bus.ended
    assert (state, start) == (GapState.REPAIRED, received)
    assert connected is not None and bus.vouches_for(connected, received)


async def test_what_the_history_no_longer_reaches_is_given_up_by_name() -> None:
    client, now = Client(reach=100), time.time_ns()
    start, end = now - 404 * SECOND, now - SECOND // 2
    client.history = [raw(number, now - (404 - number) * SECOND) for number in range(404)]
    oldest = client.history[-100]["timestamp"] * 1_000_000
    async with following(client) as (feed, bus):
        feed.outage(Outage(start, end, "restart"))
        await until(lambda: bus.vouches_for(start, end))
    assert bus.ended == [(GapState.UNFILLABLE, start, oldest, 0), (GapState.REPAIRED, oldest, end, 100)]
    assert [number for number, _ in bus.published] == list(range(304, 404))


@pytest.mark.parametrize("refused", ["since", "all"])
async def test_a_request_that_is_refused_for_good_ends_the_repair_and_not_the_watching(refused: str) -> None:
    client, now = Client(reach=2), time.time_ns()
    client.history = [raw(number, now - (5 - number) * SECOND // 10) for number in range(5)]
    client.refuses = lambda since: ArgumentsRequired("until") if refused == "all" or since is not None else None
    async with following(client) as (feed, bus):
        start, end = now - 100 * SECOND, now
        feed.outage(Outage(start, end, "restart"))
        await until(lambda: bus.vouches_for(start, end))
        await client.stream.put(ConnectionError("closed"))
        await heard(client, bus, 0)
    reached = end if refused == "all" else client.history[-2]["timestamp"] * 1_000_000
    assert bus.ended[0] == (GapState.UNFILLABLE, start, reached, 0)
    assert len(bus.ended) == (1 if refused == "all" else 2)


async def test_trades_are_watched_while_the_history_is_away_and_made_up_for_once_it_is_back() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    asked: list[int | None] = []

    def away(since: int | None) -> Exception:
        asked.append(since)
        return TimeoutError("no answer")

    client.refuses = away
    async with following(client) as (_, bus):
        await heard(client, bus, 5)
        await client.stream.put(ConnectionError("closed"))
        await heard(client, bus, 7)
        await until(lambda: asked)
        await heard(client, bus, 8)
        assert not bus.ended
        client.refuses = lambda since: None
        await until(lambda: bus.ended)
    assert (6, Source.HISTORY) in bus.published
    assert [state for state, *_ in bus.ended] == [GapState.REPAIRED]


async def test_a_history_that_calls_trades_by_other_names_than_the_socket_is_not_published_twice() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    async with following(client) as (_, bus):
        await heard(client, bus, 7)
        client.history = [raw(number + 1_000, now - (9 - number) * SECOND // 100) for number in range(9)]
        await client.stream.put(ConnectionError("closed"))
        with structlog.testing.capture_logs() as lines:
            await client.stream.put([raw(9, now)])
            await until(lambda: any(line["event"] == "repair_delayed" for line in lines))
    assert bus.ended == []
    assert {source for _, source in bus.published} == {Source.STREAM}


@pytest.mark.parametrize("is_told_by_the_socket", [True, False])
async def test_a_trade_that_no_tape_can_hold_is_given_up_by_name_and_stops_nothing(
    *, is_told_by_the_socket: bool
) -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    client.history[6]["price"] = "0"
    bad = client.history[6]["timestamp"] * 1_000_000
    async with following(client) as (feed, bus):
        await heard(client, bus, 5)
        if is_told_by_the_socket:
            await client.stream.put([client.history[6]])
            await heard(client, bus, 7)
            assert feed.market.connected_since is not None, "it interrupts no watching"
        else:
            await client.stream.put(ConnectionError("closed"))
            await heard(client, bus, 8)
            await until(lambda: any(state is GapState.REPAIRED for state, *_ in bus.ended))
            assert (7, Source.HISTORY) in bus.published
    assert bus.refused == [6]
    (told,) = [event for event in bus.told if isinstance(event, Gap) and event.cause == "malformed"]
    assert (told.state, told.start, told.end) == (GapState.UNFILLABLE, bad, bad + 1)


async def test_an_outage_that_keeps_failing_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generic, "backoff", lambda failures, chance: 0)
    client, now = Client(reach=1), time.time_ns()
    client.history = [raw(1, now)]
    hopeless, curable = (
        Outage(now - 500 * SECOND, now - 400 * SECOND, "restart"),
        Outage(now - 9, now - 5, "disconnect"),
    )
    client.refuses = lambda since: (
        TimeoutError() if since is not None and since < (now - 450 * SECOND) // 10**6 else None
    )
    async with following(client) as (feed, bus):
        feed.outage(hopeless)
        feed.outage(curable)
        await until(lambda: bus.vouches_for(curable.start, curable.end))
        assert not bus.vouches_for(hopeless.start, hopeless.end)
