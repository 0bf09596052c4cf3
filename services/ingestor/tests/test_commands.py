"""`record` and `backfill` as an operator runs them: processes of their own, against simulated exchanges."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
import pytest

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.consumer import Consumer
from crosstape.common.bus.topics import LEDGER, TRADES
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import Source
from tests.e2e.stack import Service, get, running
from tests.engines.plugin import Broker

pytestmark = pytest.mark.integration

SECONDS = 40.0


async def command(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def recorded_trade_ids(file: Path) -> list[int]:
    frames = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    messages = [msgspec.json.decode(frame["frame"]) for frame in frames if frame["dir"] == "in"]
    return [m["data"]["t"] for m in messages if m.get("data", {}).get("e") == "trade"]


def simulated(folder: Path, *options: str) -> Service:
    return Service("sim", "crosstape.exchange_sim", options, {}, folder)


async def test_what_was_recorded_replays_as_it_was(tmp_path: Path) -> None:
    simulator = simulated(tmp_path, "--exchanges", "binance", "--bases", "BTC", "--rate", "60")
    folder = tmp_path / "binance"
    folder.mkdir()
    file = folder / "spot.jsonl"
    options = ("binance", "BTC-USDT", "--out", str(file), "--origin", simulator.url)
    async with running(simulator), asyncio.timeout(SECONDS):
        recording = await command("crosstape.ingestor.record", *options)
        assert recording.stdout is not None
        frames = 0
        while frames < 40 or b'"dir":"http"' not in file.read_bytes():
            frames = msgspec.json.decode(await recording.stdout.readline())["frames"]
        recording.send_signal(signal.SIGINT)
        assert await recording.wait() == 0

    lines = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    (book,) = [line for line in lines if line["dir"] == "http"]
    assert book["src"].startswith("https://api.binance.com/api/v3/depth?symbol=BTCUSDT")
    streamed = [line for line in lines if line["dir"] != "http"]
    assert all(line["src"].startswith("wss://stream.binance.com:9443/stream?") for line in streamed)
    ids = recorded_trade_ids(file)
    assert ids

    replay = simulated(tmp_path, "--recordings", str(folder), "--speed", "max")
    url = f"{replay.url}/binance/spot.stream/stream?streams=btcusdt@trade".replace("http", "ws", 1)
    played: list[int] = []
    async with running(replay), aiohttp.ClientSession() as session, asyncio.timeout(SECONDS):
        async with session.ws_connect(url) as socket:
            while len(played) < len(ids):
                played.append((await socket.receive_json())["data"]["t"])
        served = await get(session, f"{replay.url}/binance/spot.rest/api/v3/depth", symbol="BTCUSDT")
    assert played == ids
    assert served["lastUpdateId"] >= msgspec.json.decode(book["frame"])["lastUpdateId"]


async def test_a_backfill_publishes_every_trade_of_its_range_and_says_how_far_it_is(
    empty_broker: Broker, tmp_path: Path
) -> None:
    simulator = simulated(tmp_path, "--exchanges", "okx", "--bases", "BTC", "--rate", "200")
    url = f"{simulator.url}/_truth/okx/BTC-USDT/trades?limit=1000000"
    async with running(simulator), aiohttp.ClientSession() as session, asyncio.timeout(SECONDS):
        while len(await get(session, url)) < 150:
            await asyncio.sleep(0.2)
        await session.post(f"{simulator.url}/_truth/pause")
        truth = {int(trade["trade_id"]): trade["time_ns"] for trade in await get(session, url)}
        since = str(int(time.time()) - 3_600)
        run = await command(
            "crosstape.ingestor.backfill",
            *("okx", "BTC/USDT", "--since", since),
            CROSSTAPE_KAFKA_BOOTSTRAP=empty_broker.bootstrap,
            CROSSTAPE_EXCHANGE_ORIGIN=simulator.url,
        )
        output, errors = await run.communicate()
    assert run.returncode == 0, errors.decode()
    progress = [msgspec.json.decode(line) for line in output.splitlines()]
    assert [step["done"] for step in progress] == sorted(step["done"] for step in progress)
    assert progress[-1]["trades"] == len(truth)
    bus = BusSettings(empty_broker.bootstrap)
    found: list[int] = []
    told: list[Coverage | Gap] = []
    async with Consumer(bus, [TRADES, LEDGER], group="g") as consumer, asyncio.timeout(SECONDS):
        async for batch in consumer.batches(max_records=10_000, max_age=0.5):
            assert all(record.source is Source.HISTORY for record in batch.records[TRADES.name])
            found += [trade_id for record in batch.records[TRADES.name] for trade_id in record.columns().trade_id]
            told += batch.records[LEDGER.name]
            if len(told) == 2 and len(found) >= len(truth):
                break
    assert sorted(found) == sorted(truth)
    coverage, gap = told
    assert isinstance(coverage, Coverage) and coverage.start == min(truth.values())
    assert isinstance(gap, Gap) and gap.state is GapState.UNFILLABLE, "the exchange's history begins with the simulator"
    assert (gap.start, gap.end) == (int(since) * 10**9, coverage.start)


async def test_a_backfill_of_a_symbol_that_does_not_exist_says_so_in_one_line(tmp_path: Path) -> None:
    simulator = simulated(tmp_path, "--exchanges", "okx", "--rate", "1")
    async with running(simulator), asyncio.timeout(SECONDS):
        run = await command(
            "crosstape.ingestor.backfill",
            *("okx", "BTC-UDST", "--since", "2026-01-01"),
            CROSSTAPE_EXCHANGE_ORIGIN=simulator.url,
        )
        _, errors = await run.communicate()
    assert run.returncode == 1
    assert errors.decode().startswith("backfill: okx has no symbol BTC-UDST.")
    assert len(errors.splitlines()) == 1
