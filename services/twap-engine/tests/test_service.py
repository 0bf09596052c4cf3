"""The whole process: books from the bus, orders over HTTP, events on the bus, and kill -9 in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from twap_api import LISTED, user

from crosstape.cli.ports import free_port
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BOOKS, ORDERS, market_key
from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller
from crosstape.common.market.book import BookUpdate
from crosstape.common.market.order import OrderEvent
from crosstape.common.testing.identity import INTERNAL_SECRET
from libs.common.tests.listing import FakeHistory
from tests.engines.plugin import Broker, Postgres

pytestmark = pytest.mark.integration

START_SECONDS = 60.0
KILLS = 2


class Service:
    """A process of the service on one database and one port."""

    def __init__(self, broker: Broker, url: str, history_url: str):
        self.port = free_port()
        self._environment = os.environ | {
            "CROSSTAPE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "CROSSTAPE_ORDERS_DATABASE_URL": url,
            "CROSSTAPE_HISTORY_URL": history_url,
            "CROSSTAPE_PORT": str(self.port),
            "CROSSTAPE_LEASE_SECONDS": "1",
            "CROSSTAPE_TAKER_FEES_BPS": "binance=10",
        }
        self._tokens = InternalTokens("api-gateway", [INTERNAL_SECRET])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crosstape.twap_engine", env=self._environment
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._is_ready():
                    await asyncio.sleep(0.1)
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0

    async def _is_ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(self._url("/readyz")) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def ask(self, method: str, path: str, body: Any = None, name: str = "alice") -> Any:
        """The answer, once the market lists have come: a process is ready before."""
        async with asyncio.timeout(START_SECONDS):
            while (answer := await self._answer(method, path, body, name))[0] == 503:
                await asyncio.sleep(0.05)
        assert answer[0] == 200, answer[1]
        return answer[1]

    async def _answer(self, method: str, path: str, body: Any, name: str) -> tuple[int, Any]:
        headers = {HEADER: self._tokens.mint("twap-engine", Caller("api-gateway", user(name), "203.0.113.7"))}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self._url(path), headers=headers, json=body) as answer,
        ):
            return answer.status, await answer.json()

    async def until(self, path: str, holds: Callable[[Any], bool], name: str) -> Any:
        async with asyncio.timeout(START_SECONDS):
            while not holds(found := await self.ask("GET", path, name=name)):
                await asyncio.sleep(0.05)
        return found


async def tell_books(bus: BusSettings) -> None:
    """A whole book, again and again, as an ingestor that knows nothing else."""
    async with Producer(bus) as producer:
        while True:
            now = time.time_ns()
            book = BookUpdate("binance", "BTC-USDT", True, [("29980", "5")], [("29990", "5000")], now, now)
            await producer.send(BOOKS, market_key("binance", "BTC-USDT"), book)
            await asyncio.sleep(0.05)


async def told(bus: BusSettings, name: str, kind: str) -> list[OrderEvent]:
    """The events of a user's order in the order of the topic, once one of `kind` has come."""
    found: list[OrderEvent] = []
    async with Follower(bus, {ORDERS: 600.0}) as follower, asyncio.timeout(START_SECONDS):
        async for arrivals in follower.arrivals():
            found += [r.value for r in arrivals.records if r.value.user_id == f"id-of-{name}"]
            if any(event.kind == kind for event in found):
                return found
    raise AssertionError("unreachable")


@pytest.fixture
def urls(postgres_server: Postgres, tmp_path: Path) -> dict[str, str]:
    """A database of each kind that is still empty, by the name of the user whose order it keeps."""
    postgresql = asyncio.run(postgres_server.create_database())
    return {"user-sqlite": f"sqlite:///{tmp_path / 'orders.db'}", "user-postgresql": postgresql}


@pytest.mark.timeout(400)
async def test_an_order_outlives_the_process_that_accepted_it(urls: dict[str, str], platform_broker: Broker) -> None:
    async with FakeHistory(LISTED).serving() as origin, asyncio.TaskGroup() as group:
        books = group.create_task(tell_books(BusSettings(platform_broker.bootstrap)))
        async with asyncio.TaskGroup() as services:
            for name, url in urls.items():
                services.create_task(outlives(Service(platform_broker, url, origin), name, platform_broker))
        books.cancel()


async def outlives(service: Service, name: str, broker: Broker) -> None:
    order = {
        "order_id": "survivor", "symbol": "BTC-USD", "exchange": "binance", "side": "buy", "total_quantity": 1.0,
        "limit_price": 30000.0, "duration": 10, "interval": 1,
    }  # fmt: skip
    for kill in range(KILLS):
        async with service.running() as process:
            if not kill:
                assert await service.ask("POST", "/orders/twap", order, name) == {
                    "message": "TWAP order accepted",
                    "order_id": "survivor",
                    "quote_aliases": {"binance": "USDT"},
                }
            before = await service.ask("GET", "/orders/survivor", name=name)
            more = before["progress"]["slices_run"] + 2
            await service.until(
                "/orders/survivor",
                lambda d, n=more: d["progress"]["slices_run"] >= n or d["status"] != "open",
                name,
            )
            process.kill()
            await process.wait()
    async with service.running():
        assert (await service.ask("POST", "/orders/twap", order, name))["order_id"] == "survivor"
        detail = await service.until("/orders/survivor", lambda d: d["status"] != "open", name)
        events = await told(BusSettings(broker.bootstrap), name, "closed")
    # Where the machine was so slow that the last slice fell between two processes, the rest is left, and told so.
    is_complete = detail["executions"][-1]["slice"] == order["duration"]
    assert detail["close_reason"] == ("completed" if is_complete else "expired")
    filled = sum(Decimal(str(e["quantity"])) for e in detail["executions"])
    assert filled == Decimal(str(detail["filled_quantity"])) == 1 - Decimal(str(detail["unfilled_quantity"]))
    assert (detail["unfilled_quantity"] == 0, detail["average_price"]) == (is_complete, 29990)
    assert detail["fees"] == pytest.approx(29.99 * float(filled))
    progress = detail["progress"]
    got_nothing = progress["slices_short"].get("no_live_book", 0)  # those that ran while books came late
    assert (
        len({e["slice"] for e in detail["executions"]})
        == len(detail["executions"])
        == progress["slices_run"] - got_nothing
    )
    numbers = [event.number for event in events]
    first = list(dict.fromkeys(numbers))
    assert first == [*range(len(first))], "in order, none missing; repeats come later"
    assert next(e.kind for e in events if e.number == 0) == "accepted"
    assert sum(event.kind == "fill" for event in {e.number: e for e in events}.values()) == len(detail["executions"])
