"""An exchange through ccxt: real ccxt, talking to the simulated Kraken over real sockets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.consumer import Consumer
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import LEDGER, TRADES
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import TradeBatch
from crosstape.exchanges.ccxt_generic import CcxtExchange
from crosstape.ingestor.generic import GenericFeed, generic_check
from crosstape.ingestor.outages import Outage
from crosstape.ingestor.publish import Publisher
from tests.e2e.stack import Service
from tests.engines.plugin import Broker

pytestmark = pytest.mark.integration


def mounted(urls: Any, origin: str) -> Any:
    """ccxt's addresses of Kraken, all at the simulator."""
    if isinstance(urls, dict):
        return {name: mounted(url, origin) for name, url in urls.items()}
    if isinstance(urls, str):
        rest, stream = f"{origin}/kraken/rest", f"{origin}/kraken/stream".replace("http", "ws", 1)
        return urls.replace("https://api.kraken.com", rest).replace("wss://ws.kraken.com", stream)
    return urls


async def test_trades_arrive_once_across_an_interruption_which_the_ledger_tells(
    empty_broker: Broker, tmp_path: Path
) -> None:
    import ccxt.pro  # half a second, which nobody who only collects this test should wait

    bus = BusSettings(empty_broker.bootstrap)
    simulator = Service(
        "sim", "crosstape.exchange_sim", ("--exchanges", "kraken", "--symbols", "2", "--rate", "40"), {}, tmp_path
    )
    await simulator.start()
    client = ccxt.pro.kraken({"enableRateLimit": False})
    client.number = str
    client.has["fetchCurrencies"] = False  # the simulator lists no assets
    client.urls = mounted(client.urls, simulator.url)
    exchange = CcxtExchange("kraken", client)
    batches: list[TradeBatch] = []
    gaps: list[Gap] = []
    coverage: list[Coverage] = []

    async def traded(session: aiohttp.ClientSession) -> set[int]:
        async with session.get(f"{simulator.url}/_truth/kraken/XBTUSD/trades?limit=100000") as response:
            return {int(trade["trade_id"]) for trade in await response.json()}

    async def read(consumer: Consumer) -> None:
        async for batch in consumer.batches(max_records=10_000, max_age=0.2):
            batches.extend(batch.records[TRADES.name])
            gaps.extend(event for event in batch.records[LEDGER.name] if isinstance(event, Gap))
            coverage.extend(event for event in batch.records[LEDGER.name] if isinstance(event, Coverage))

    def told() -> list[int]:
        return [int(i) for batch in batches for i in batch.columns().trade_id]

    async def until(condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.05)

    try:
        instrument = next(i for i in await exchange.markets() if i.symbol == "BTC-USD")
        async with (
            aiohttp.ClientSession() as session,
            Producer(bus) as producer,
            Consumer(bus, [TRADES, LEDGER], group="g") as consumer,
        ):
            async with asyncio.timeout(30):
                while not await traded(session):  # ccxt stops reading at Kraken's snapshot of no trades
                    await asyncio.sleep(0.05)
            publisher = Publisher("kraken", producer, on_pressure=lambda is_pressed: None)
            feed = GenericFeed(exchange, instrument, publisher)
            parts = [publisher.run(), publisher.run_ledger(), feed.run(), feed.repair.run(), read(consumer)]
            tasks = [asyncio.create_task(part) for part in parts]
            await until(lambda: len(batches) > 3)
            assert generic_check([feed]).is_up
            await session.post(f"{simulator.url}/_faults", json={"drop": 1.0})
            await until(lambda: any(gap.state is GapState.OPEN for gap in gaps))
            await session.post(f"{simulator.url}/_faults", json={})
            await until(lambda: any(gap.state is GapState.REPAIRED for gap in gaps))
            repaired_at = time.time_ns()
            await until(lambda: any(min(batch.columns().time) > repaired_at for batch in batches))
            await session.post(f"{simulator.url}/_truth/pause")
            truth = await traded(session)
            await until(lambda: {*told()} >= {i for i in truth if i >= min(told())})
            live = told()

            # A process that begins later makes up for what nobody vouched for.
            begun, ended = min(time for batch in batches for time in batch.columns().time), time.time_ns()
            batches.clear()
            later = GenericFeed(exchange, instrument, publisher)
            later.repair.outage(Outage(begun, ended, "restart"))
            tasks.append(asyncio.create_task(later.repair.run()))
            await until(lambda: Coverage("kraken", "BTC-USD", begun, ended) in coverage)
            await until(lambda: {*told()} >= set(live))
            assert any((gap.cause, gap.state) == ("restart", GapState.REPAIRED) for gap in gaps)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    finally:
        await exchange.close()
        await simulator.stop()
    assert len(live) == len(set(live))
    assert set(live) == {i for i in truth if i >= min(live)}
