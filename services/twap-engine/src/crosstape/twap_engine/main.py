"""Wiring: settings to the database, the books, the engine and the API. Nothing but `__main__` imports this."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.producer import Producer
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market_lists import MarketLists
from crosstape.common.runtime.health import Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.preparing import prepared
from crosstape.common.runtime.settings import read_settings
from crosstape.common.waiting import unless_stopped
from crosstape.common.web.closing import close_last
from crosstape.twap_engine.accounts import Accounts
from crosstape.twap_engine.api.app import create_app
from crosstape.twap_engine.api.resources import Resources
from crosstape.twap_engine.benchmarks import Benchmarks
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.engine import Engine
from crosstape.twap_engine.execution.ccxt_clients import open_clients
from crosstape.twap_engine.execution.ccxt_executor import CcxtExecutor
from crosstape.twap_engine.execution.executor import Executor
from crosstape.twap_engine.execution.simulated import SimulatedExecutor
from crosstape.twap_engine.feed import Feed
from crosstape.twap_engine.markets import Directory
from crosstape.twap_engine.relay import Relay
from crosstape.twap_engine.replica import ReplicaLife, new_name
from crosstape.twap_engine.settings import ExecutorKind, TwapSettings
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.migrate import migrate

NAME = "twap-engine"


def main() -> None:
    """Run the service as its environment says."""
    settings = read_settings(TwapSettings)
    run_service(NAME, settings, partial(build, settings))


async def build(settings: TwapSettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The app and its background work. The port answers (not ready) while the database is still out of reach."""
    health = Health(needs=("database", "books"), stopping=stop)
    tokens = settings.internal_tokens(NAME)
    clock = Clock()
    database = Database(settings.orders_database_url)
    books = Books(int(settings.book_seconds * NANOSECONDS))
    benchmarks = Benchmarks(books)
    session = aiohttp.ClientSession()
    lists = MarketLists(settings.history_url, session, tokens)
    clients = open_clients(settings) if settings.executor is ExecutorKind.CCXT else {}
    executor: Executor = (
        CcxtExecutor(database, books, clients, settings.ccxt_limits, clock)
        if settings.executor is ExecutorKind.CCXT
        else SimulatedExecutor(database, books, settings.fee_rates, clock)
    )
    engine = Engine(database, executor, benchmarks, clock, new_name())
    life = ReplicaLife(database, engine, clock, settings.lease_seconds)
    accounts = Accounts(database, engine, clock, settings.auth_url, session, tokens)
    feed = Feed(settings.bus, books, benchmarks, clock)
    health.watch("books", feed.check)
    health.watch("database", life.check)
    resources = Resources(database, engine, books, Directory(lists.tables), clock, health)

    async def work(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(lists.run(stop), name="market lists")
            group.create_task(feed.run(stop), name="feed")
            if await prepared(stop, partial(migrate, database)):
                group.create_task(_tell(settings.bus, database, life, stop), name="relay")
                group.create_task(_live(engine, life, stop), name="engine")
                group.create_task(accounts.run(stop), name="accounts")

    async def close() -> None:
        for client in clients.values():
            await client.close()
        await session.close()
        await database.close()

    app = create_app(resources, tokens)
    close_last(app, close)
    return app, [work]


async def _live(engine: Engine, life: ReplicaLife, stop: asyncio.Event) -> None:
    """Work on orders until `stop`, and only then leave them to the others."""
    async with asyncio.TaskGroup() as group:
        group.create_task(life.run(stop), name="life")
        group.create_task(engine.run(stop), name="slices")
    await life.resign()


async def _tell(bus: BusSettings, database: Database, life: ReplicaLife, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        producer = await unless_stopped(stop, stack.enter_async_context(Producer(bus)))
        if producer is not None:
            await Relay(database, producer, life).run(stop)
