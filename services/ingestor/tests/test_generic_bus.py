"""What the bus loses of an exchange through ccxt, and what waits while it takes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crosstape.common.bus.topics import LEDGER, Topic
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Gap, GapState
from crosstape.common.market.trade import Trade, TradeId
from crosstape.common.runtime.health import Health
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery
from crosstape.ingestor import main, outages, repair, unnumbered
from crosstape.ingestor.generic import GenericFeed
from crosstape.ingestor.unnumbered import Unnumbered
from crosstape.ingestor.watermarks import Watermark, Watermarks
from services.ingestor.tests.generic_harness import INSTRUMENT, SECOND, Bus, Client, following, heard, raw, until


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "HISTORY_LAG", 0)
    monkeypatch.setattr(unnumbered, "OVERLAP", 0)
    monkeypatch.setattr(repair, "REORDER_SECONDS", 0)
    monkeypatch.setattr(repair, "backoff", lambda failures, chance: 0)


def ends(newest: int, trade_id: TradeId = "x") -> Watermarks:
    """A tape that ends at `newest` (ns)."""
    return Watermarks({"BTC-USDT": Watermark("BTC-USDT", trade_id, newest, [])}, {})


def markets(feed: GenericFeed) -> Unnumbered:
    return Unnumbered({"BTC-USDT": feed.repair})


def starts(bus: Bus) -> set[int]:
    """Where what the bus lost began, of all that is told of it."""
    return {event.start for event in bus.told if isinstance(event, Gap) and event.cause == "bus"}


async def test_what_the_bus_lost_is_published_again_though_it_was_seen() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (40 - number) * SECOND) for number in range(40)]
    stored = client.history[20]["timestamp"] * 1_000_000
    async with following(client) as (feed, bus):
        for number in range(20, 40):
            await heard(client, bus, number)
        losing = markets(feed)
        losing.resume(ends(stored))
        losing.lost()
        assert starts(bus) == {stored - 10 * SECOND}, "whoever comes next knows it at once"
        losing.lost()
        await until(lambda: bus.ended)
    assert set(bus.numbers) >= set(range(20, 40))
    state, start, end, _ = bus.ended[-1]
    assert (state, start) == (GapState.REPAIRED, stored - 10 * SECOND)
    assert bus.vouches_for(start, end)


async def test_what_the_bus_lost_before_the_exchange_answered_is_published_by_the_next_process() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (40 - number) * SECOND) for number in range(40)]
    client.refuses = lambda since: TimeoutError("no answer")
    async with following(client) as (feed, first):
        for number in range(20, 40):
            await heard(client, first, number)
        losing = markets(feed)
        losing.stored(ends(client.history[20]["timestamp"] * 1_000_000))
        losing.lost()
    [lost] = [gap for gap in first.told if isinstance(gap, Gap)]
    client.refuses = lambda since: None
    async with following(client) as (feed, second):
        markets(feed).resume(Watermarks({}, {}, {"BTC-USDT": [(lost.start, lost.end)]}))
        await until(lambda: second.ended)
    assert set(second.numbers) >= set(range(20, 40))
    assert [(state, start) for state, start, *_ in second.ended] == [(GapState.REPAIRED, lost.start)]


async def test_what_the_bus_lost_is_made_up_for_though_history_tells_it_only_after_the_next_process_has_begun() -> None:
    now = time.time_ns()
    async with following(Client()) as (feed, bus):
        losing = markets(feed)
        losing.resume(ends(now))
        losing.stored(Watermarks({}, {}, {"BTC-USDT": [(now - 20 * SECOND, now - 10 * SECOND)]}))
        assert not starts(bus), "whoever told it may yet repair it"
        for _ in range(2):
            losing.stored(Watermarks({}, {}, {"BTC-USDT": [(now - 200 * SECOND, now - 100 * SECOND)]}))
        await until(lambda: bus.ended)
    assert bus.ended == [(GapState.REPAIRED, now - 200 * SECOND, now - 100 * SECOND, 0)]
    assert sum(isinstance(event, Gap) for event in bus.told) == 2, "it is opened once, and ends"


async def test_what_the_bus_lost_begins_where_the_tape_ended_before_it_whatever_was_stored_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(unnumbered, "time", SimpleNamespace(monotonic=lambda: now, time_ns=time.time_ns))
    async with following(Client()) as (feed, bus):
        began, losing = time.time_ns(), markets(feed)
        now = 1_000.0
        losing.lost()
        assert min(starts(bus)) >= began - 10 * SECOND, "of a market of which nothing is stored all since the start"
        bus.told.clear()
        now = 2_000.0
        losing.stored(ends(50 * SECOND))
        losing.lost()
        losing.stored(ends(90 * SECOND))
        losing.lost()
        assert starts(bus) == {40 * SECOND}
        now = 3_000.0
        losing.stored(ends(90 * SECOND))
        losing.lost()
        assert starts(bus) == {40 * SECOND, 80 * SECOND}


async def test_of_a_market_whose_newest_trade_the_tape_holds_the_bus_lost_nothing() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * 3_600 * SECOND) for number in range(9)]
    async with following(client) as (feed, bus):
        await heard(client, bus, 7)
        losing = markets(feed)
        losing.resume(ends(now - 2 * 3_600 * SECOND, 7))
        losing.lost()
        assert not starts(bus)
        await heard(client, bus, 8)
        losing.lost()
        assert starts(bus) == {now - 2 * 3_600 * SECOND - 10 * SECOND}


async def test_while_the_bus_is_full_nothing_is_taken_from_the_exchange_and_that_is_an_outage() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    async with following(client) as (feed, bus):
        await heard(client, bus, 4)
        bus.room_again.clear()
        await heard(client, bus, 5)
        await client.stream.put([client.history[8]])
        for _ in range(100):
            await asyncio.sleep(0)
        assert client.stream.qsize() == 1
        received = feed.market.last_trade_received
        bus.room_again.set()
        await until(lambda: bus.ended)
    assert sorted(number for number, _ in bus.published if number > 4) == [5, 6, 7, 8]
    assert [(state, start) for state, start, *_ in bus.ended] == [(GapState.REPAIRED, received)]


class Gate:
    """An exchange that lists one market and says nothing of it."""

    exchange = "gate"

    async def markets(self) -> list[Instrument]:
        return [INSTRUMENT]

    async def watch_trades(self, instrument: Instrument) -> AsyncIterator[list[Trade]]:
        await asyncio.Event().wait()
        yield []

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        yield HistoryPage([], None, reaches_back=True)

    async def close(self) -> None: ...


class Lossy:
    """A bus that loses what it had as soon as it is there, and takes all that is told then."""

    def __init__(self, told: list[Any], settings: object, *, on_loss: Callable[[str], None]):
        self._told = told
        self._on_loss = on_loss

    async def __aenter__(self) -> Lossy:
        self._on_loss("a log started again")
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def deliver(self, topic: Topic[Any], key: bytes, record: object) -> None:
        if topic is LEDGER:
            self._told.append(record)

    async def flush(self) -> None: ...


async def test_an_ingestor_of_such_an_exchange_hears_what_the_bus_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "open_exchange", lambda name: Gate())
    told: list[Any] = []
    monkeypatch.setattr(main, "Producer", partial(Lossy, told))
    monkeypatch.setattr(main, "follow_tape", lambda *_: asyncio.Event().wait())
    settings: Any = SimpleNamespace(
        exchange="gate", symbols=["BTC-USDT"], bus=None, history_url="", internal_tokens=lambda name: None
    )
    stop = asyncio.Event()
    health = Health(needs=("feed",), stopping=stop)
    reading = asyncio.create_task(main.ingest_generic(settings, health, cast(Any, None), stop))
    await until(lambda: told)
    stop.set()
    await reading
    assert ("bus", GapState.OPEN) in [(gap.cause, gap.state) for gap in told if isinstance(gap, Gap)]
