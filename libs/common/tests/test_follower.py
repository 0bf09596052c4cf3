"""Follower against the real broker: from a while back to the end, places in the log, and a log that began anew."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from crosstape.common.bus import follower as follower_module
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BARS, TRADES, market_key
from crosstape.common.market.trade import Source, batch_trades
from crosstape.common.testing.builders import make_trade

pytestmark = pytest.mark.integration

KEY = market_key("binance", "BTC-USDT")
PATIENCE = 60.0


async def publish(producer, *ids):
    for number in ids:
        await producer.deliver(TRADES, KEY, batch_trades([make_trade(number)], Source.STREAM))


async def read(follower, wanted):
    """Records until there are as many as wanted, and the epochs they came under."""
    found, epochs = [], []
    async with asyncio.timeout(PATIENCE):
        async for arrivals in follower.arrivals():
            found += arrivals.records
            epochs += [arrivals.epoch] * len(arrivals.records)
            if len(found) >= wanted:
                return found, epochs
    raise AssertionError


def ids(records):
    return [record.value.columns().trade_id[0] for record in records]


async def test_reads_from_a_while_back_then_what_comes(empty_broker, monkeypatch):
    settings = BusSettings(empty_broker.bootstrap)
    async with Producer(settings) as producer:
        await publish(producer, 1, 2)
        await asyncio.sleep(1.2)
        opened = time.time()  # for the followers, however long it takes until they are
        monkeypatch.setattr(follower_module, "time", SimpleNamespace(time=lambda: opened))
        await publish(producer, 3)
        async with (
            Follower(settings, {TRADES: 1.0, BARS: 1.0}) as recent,
            Follower(settings, {TRADES: 60.0}) as all_of_it,
        ):
            assert ids((await read(all_of_it, 3))[0]) == [1, 2, 3]
            records, _ = await read(recent, 1)
            assert ids(records) == [3]
            assert recent.start_of(TRADES, KEY) == records[0].offset
            assert recent.epoch == all_of_it.epoch
            await publish(producer, 4)
            assert ids((await read(recent, 1))[0]) == [4]
            assert int(opened * 1000) <= records[0].time_ms <= time.time() * 1000


async def test_catching_up_is_told(empty_broker):
    settings = BusSettings(empty_broker.bootstrap)
    async with Producer(settings) as producer:
        await publish(producer, *range(50))
        async with Follower(settings, {TRADES: 60.0}) as follower:
            seen = 0
            async with asyncio.timeout(PATIENCE):
                async for arrivals in follower.arrivals():
                    seen += len(arrivals.records)
                    if arrivals.is_caught_up:
                        break
            assert seen == 50


async def test_what_stands_in_the_log_is_passed_once_it_was_handed_over(empty_broker):
    settings = BusSettings(empty_broker.bootstrap)
    async with Producer(settings) as producer, Follower(settings, {TRADES: 60.0, BARS: 60.0}) as follower:
        await asyncio.wait_for(follower.has_passed(TRADES), PATIENCE)
        await publish(producer, 1, 2)
        passing = asyncio.create_task(follower.has_passed(TRADES))
        _, pending = await asyncio.wait({passing}, timeout=0.5)
        assert pending
        assert ids((await read(follower, 2))[0]) == [1, 2]
        await asyncio.wait_for(passing, PATIENCE)


async def test_epoch_outlives_a_restart_and_not_the_loss_of_the_log(own_broker):
    settings = BusSettings(own_broker.bootstrap)
    async with Producer(settings) as producer, Follower(settings, {TRADES: 60.0}) as follower:
        await publish(producer, 1)
        epoch = (await read(follower, 1))[1][0]
        await own_broker.restart()
        await publish(producer, 2)
        records, epochs = await read(follower, 1)
        assert ({*ids(records)}, {*epochs}) == ({2}, {epoch})  # a delivery may be repeated
        await own_broker.restart_empty()
        await publish(producer, 3)
        records, epochs = await read(follower, 1)
        while ids(records)[-1] != 3 or epochs[-1] == epoch:
            records, epochs = await read(follower, 1)
        assert records[0].offset == 0
