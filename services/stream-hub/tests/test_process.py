"""The process as it runs: real broker, real history, real Valkey, signed tokens. What it says is what REST answers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from importlib import import_module

import aiohttp
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from crosstape.cli.ports import free_port
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BOOKS, TRADES, market_key
from crosstape.common.identity.access import Claims, JwkSet, public_jwk, sign_access_token
from crosstape.common.identity.principal import Role
from crosstape.common.identity.revocations import CHANNEL, COUNT_KEY, KEY, session_entry
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.trade import Source, TakerSide, batch_trades
from crosstape.common.testing.identity import own_headers
from tests.e2e.stack import Service, Stack, running, until

h = import_module("services.stream-hub.tests.harness")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MARKET = ("binance", "BTC-USDT")
FIELDS = ("timestamp", "open", "high", "low", "close", "volume", "volume_delta", "trades", "status", "revision")


class Tokens:
    """An auth service that has keys and nothing else."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._user_id = f"user-{random.random()}"  # other tests revoke things on the same Valkey
        self.port = free_port()

    def token(self, session_id="", lives=3600):
        now = int(time.time())
        claims = Claims(
            sub=self._user_id,
            jti=str(random.random()),
            iat=now,
            exp=now + lives,
            sid=session_id or f"session-{random.random()}",
            ver=1,
            name="alice",
            role=Role.QUANT,
            scope="market:read orders:read",
        )
        return sign_access_token(claims, self._key, "k1")

    async def serve(self) -> web.AppRunner:
        async def keys(request):
            body = msgspec.json.encode(JwkSet([public_jwk("k1", self._key.public_key())]))
            return web.Response(body=body, content_type="application/json")

        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", keys)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        return runner


class World:
    """Everything that runs."""

    def __init__(self, broker, valkey, directory):
        self.stack = Stack(broker, directory)
        self.tokens = Tokens()
        self.valkey = valkey
        self.stream_port = free_port()
        environment = {
            "CROSSTAPE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "CROSSTAPE_STREAM_PORT": str(self.stream_port),
            "CROSSTAPE_HISTORY_URL": self.stack.history.url,
            "CROSSTAPE_AUTH_URL": f"http://127.0.0.1:{self.tokens.port}",
            "CROSSTAPE_REDIS_URL": valkey.url,
            "CROSSTAPE_DRAIN_SECONDS": "0.5",
        }
        self.hub = Service("stream-hub", "crosstape.stream_hub", (), environment, directory)

    def client(self, path, **options):
        token = self.tokens.token(**options)
        url = f"ws://127.0.0.1:{self.stream_port}{path}"
        return connect(url, compression=None, max_queue=None, additional_headers={"Authorization": f"Bearer {token}"})

    async def rest_bars(self, session, start, end, interval="1m"):
        url = f"{self.stack.history.url}/api/v1/ohlcv/{MARKET[0]}/{MARKET[1]}"
        async with session.get(
            url,
            params={"interval": interval, "start": start, "end": end},
            headers=own_headers("history"),
        ) as response:
            return {bar["timestamp"]: bar for bar in h.loads(await response.text())["bars"]}


@pytest.fixture
async def world(platform_broker, valkey, tmp_path) -> AsyncIterator[World]:
    world = World(platform_broker, valkey, tmp_path)
    runner = await world.tokens.serve()
    async with Redis.from_url(valkey.url) as redis:
        await redis.setnx(COUNT_KEY, 0)
    try:
        async with running(world.stack.listing, world.stack.history):
            yield world
            await world.hub.stop()
    finally:
        await runner.cleanup()


async def publish(producer, *trades):
    await producer.deliver(TRADES, market_key(*MARKET), batch_trades(trades, Source.STREAM))


async def test_ticks_bars_recovery_books_and_rights(world):
    minute = h.minute_of(time.time_ns()) - 600
    chance = random.Random(5)

    def trade(number, second):
        return h.trade(
            number,
            time=(minute + second) * NANOSECONDS + number,
            price=f"{60000 + chance.randint(-50, 50)}.{chance.randint(10, 99)}",
            quantity=f"0.{chance.randint(1, 99999):05d}",
            side=chance.choice([TakerSide.BUY, TakerSide.SELL]),
        )

    async with Producer(BusSettings(world.stack.broker.bootstrap)) as producer, aiohttp.ClientSession() as session:
        early = [trade(number, number) for number in range(100)]
        await publish(producer, *early)

        async def are_stored():
            return len(await world.rest_bars(session, minute, minute + 120)) == 2

        await until(are_stored, describe=lambda: "bars of the early trades")
        await world.hub.start()

        # A new replica knows the day; ticks add up to REST's bars; every bar told is REST's at that moment.
        async with (
            world.client("/ws/v1/cvd/binance/btcusdt?interval=1m") as cvd,
            world.client("/ws/v1/stream") as stream,
        ):
            snapshot = await h.hear_text(cvd)
            assert Decimal(snapshot["cvd"]) == signed(early) or crosses_midnight(minute)
            await h.say(stream, action="subscribe", channels=["trades:binance:BTC-USDT", "bars:binance:BTC-USDT:5m"])
            answer = await h.hear(stream)
            await h.hear(stream)
            late = [trade(number, chance.randint(120, 540)) for number in range(100, 400)]
            for start in range(0, 300, 20):
                part = late[start : start + 20]
                await publish(producer, *part, *chance.sample(part, 3))
            sums, told = {}, {}
            async with asyncio.timeout(60):
                while sum(int(bar["trades"]) for bar in told.values()) < 300:
                    message = h.loads(await cvd.recv())
                    if message["type"] == "tick":
                        bucket = int(Decimal(message["timestamp"])) // 60 * 60
                        volume, delta = sums.get(bucket, (Decimal(), Decimal()))
                        sums[bucket] = (volume + Decimal(message["quantity"]), delta + Decimal(message["volume_delta"]))
                    else:
                        bar = message["bar"]
                        rest = await world.rest_bars(session, bar["timestamp"], str(int(bar["timestamp"]) + 1))
                        newest = rest[bar["timestamp"]]
                        assert int(newest["revision"]) >= int(bar["revision"])
                        if newest["revision"] == bar["revision"]:
                            assert [newest[name] for name in FIELDS] == [bar[name] for name in FIELDS]
                        if int(bar["timestamp"]) >= minute + 120:  # the early ones may close as late as now
                            told[bar["timestamp"]] = bar
            for open_time, bar in told.items():
                assert sums[int(open_time)] == (Decimal(bar["volume"]), Decimal(bar["volume_delta"]))
            heard = await h.hear_until(stream, lambda one: one.get("trade_id") == 399)

        # kill -9, come back, miss nothing and get nothing twice.
        trades = [one for one in heard if one["type"] == "trade"]
        since = chance.choice(trades[:-1])
        missing = [one["trade_id"] for one in trades if one["offset"] > since["offset"]]
        await world.hub.kill()
        await publish(producer, trade(400, 550), late[-1])
        await world.hub.start()
        async with world.client("/ws/v1/stream") as stream:
            asked = {"channel": since["channel"], "since": since["offset"], "epoch": answer["epoch"]}
            await h.say(stream, action="subscribe", channels=[asked])
            assert (await h.hear(stream))["recovered"] is True
            again = await h.hear_until(stream, lambda one: one["trade_id"] == 400)
            known = {one["trade_id"] for one in trades}
            assert [one["trade_id"] for one in again if one["trade_id"] in known] == missing

        # A book, over REST too, for those who may.
        await producer.deliver(
            BOOKS, market_key("kraken", "BTC-USD"), h.snapshot("kraken", "BTC-USD", [("1.50", "2")], [("3", "4")], None)
        )
        async with world.client("/ws") as books:
            await h.say(books, action="subscribe", exchange="kraken", symbol="BTC-USD")
            await h.hear(books)
            book = await h.hear_until(books, lambda one: one["type"] == "book")
            assert book[-1]["bids"] == [[1.5, 2]]
        url = f"{world.hub.url}/api/v1/book/kraken/XBT/USD"
        async with session.get(url, headers=own_headers("stream-hub")) as response:
            assert response.status == 200
            assert (await response.json())["asks"] == [[3, 4]]
        async with session.get(url) as response:
            assert response.status == 401

        # Logged off elsewhere: the socket ends within five seconds. Stopped: everybody is asked to come back.
        gone = f"gone-{random.random()}"
        async with world.client("/ws/v1/stream", session_id=gone) as revoked, world.client("/ws/v1/stream") as other:
            for one in (revoked, other):
                await h.say(one, action="ping")
                await h.hear(one)
            async with Redis.from_url(world.valkey.url) as redis:
                entry, expires = session_entry(gone), time.time() + 3600
                await redis.zadd(KEY, {entry: expires})
                await redis.incr(COUNT_KEY)
                await redis.publish(CHANNEL, f"{expires} {entry}")
            started = time.monotonic()
            assert (await h.closed(revoked, 6))[0] == 4401
            assert time.monotonic() - started < 5
            os.kill(world.hub.process.pid, signal.SIGTERM)
            assert (await h.closed(other))[0] == 1012
        assert await world.hub.process.wait_exit() == 0
        assert "eyJ" not in world.hub.process.log.read_text()


def signed(trades):
    return sum((Decimal(one.quantity) * int(one.side) for one in trades), Decimal())


def crosses_midnight(second):
    return second // 86_400 != (second + 900) // 86_400
