"""kill -9 at the moments that matter, and redelivery: nothing lost, nothing doubled, everything told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from crosstape.cli.ports import free_port
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.consumer import Consumer
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BARS, TRADES, market_key
from crosstape.common.market.bar import Bar, Interval, fold_bars
from crosstape.common.market.trade import Source, Trade, batch_trades
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.identity import own_headers
from crosstape.common.testing.strategies import START
from tests.engines.plugin import Broker

pytestmark = pytest.mark.integration

TRADES_SENT = [
    make_trade(i, time=START + i * 700_000_000, price=f"{60_000 + i % 7}.{i % 10}", quantity=f"0.{i % 9 + 1}")
    for i in range(1, 400)
]
START_SECONDS = 60.0


class History:
    """A process of the service on one directory, one broker and one port."""

    def __init__(self, broker: Broker, directory: Path):
        self.port = free_port()
        self._environment = os.environ | {
            "CROSSTAPE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "CROSSTAPE_CLICKHOUSE_URL": f"chdb://{directory / 'store'}",
            "CROSSTAPE_PORT": str(self.port),
            "CROSSTAPE_EXCHANGE_ORIGIN": "http://127.0.0.1:1",
            "CROSSTAPE_EXCHANGES": "binance",
        }

    @asynccontextmanager
    async def running(self, moment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        program = str(Path(__file__).parent / "dying.py")
        process = await asyncio.create_subprocess_exec(sys.executable, program, moment, env=self._environment)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await asyncio.wait_for(process.wait(), START_SECONDS)

    async def dies(self, moment: str) -> None:
        async with self.running(moment) as process:
            assert await asyncio.wait_for(process.wait(), START_SECONDS) == -signal.SIGKILL

    async def get(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession(headers=own_headers("history")) as session, session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    async def bars(self) -> list[dict[str, Any]]:
        body = msgspec.json.decode(await self.get(f"/api/v1/ohlcv/binance/BTC-USDT?start={START // 10**9}"))
        return body["bars"]  # type: ignore[no-any-return]

    async def settled(self, bars: int) -> dict[str, Any]:
        """The audit's report, once it finds as many bars as there should be."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    lines = (await self.get("/internal/verify/binance/BTC-USDT")).splitlines()
                    report: dict[str, Any] = msgspec.json.decode(lines[-1])
                    if report["bars"] == bars and report["result"] == "ok":
                        return report
                except (aiohttp.ClientError, AssertionError):
                    pass
                await asyncio.sleep(0.3)


async def send(bus: BusSettings, trades: list[Trade]) -> None:
    async with Producer(bus) as producer:
        for first in range(0, len(trades), 50):
            batch = batch_trades(trades[first : first + 50], Source.STREAM)
            await producer.send(TRADES, market_key("binance", "BTC-USDT"), batch)
        await producer.flush()


async def told(bus: BusSettings, count: int) -> dict[tuple[str, int], Bar]:
    found: dict[tuple[str, int], Bar] = {}
    async with Consumer(bus, [BARS], group="check") as consumer, asyncio.timeout(START_SECONDS):
        async for batch in consumer.batches(max_records=10_000, max_age=0.2):
            for bar in (bar for bars in batch.records["bars"] for bar in bars):
                found[bar.interval, bar.open_time] = bar
            if len(found) >= count:
                return found
    raise AssertionError("unreachable")


@pytest.mark.timeout(240)
async def test_whenever_the_sink_is_killed_nothing_is_lost_doubled_or_untold(
    platform_broker: Broker, tmp_path: Path
) -> None:
    bus = BusSettings(platform_broker.bootstrap)
    history = History(platform_broker, tmp_path)
    expected = [*fold_bars(TRADES_SENT, Interval.M1), *fold_bars(TRADES_SENT, Interval.S1)]
    await send(bus, TRADES_SENT)
    await history.dies("commit")
    await history.dies("before_bars")
    await history.dies("after_bars")
    async with history.running("never"):
        await history.settled(len(expected))
        assert await told(bus, len(expected)) == {(bar.interval, bar.open_time): bar for bar in expected}
        for _ in range(2):
            await send(bus, TRADES_SENT[::-1])
        late = make_trade(1_000, time=START + 1, price="1")
        await send(bus, [late])
        async with asyncio.timeout(START_SECONDS):
            while (bars := await history.bars())[0]["revision"] == 0:
                await asyncio.sleep(0.3)
        assert [bar["revision"] for bar in bars] == [1, 0, 0, 0, 0]
        body = msgspec.json.decode(
            await history.get(f"/api/v1/trades/binance/BTC-USDT?start={START // 10**9}&limit=10000")
        )
        assert [trade["trade_id"] for trade in body["trades"]] == [*range(1, 400), 1_000]
        await history.settled(len(expected))
