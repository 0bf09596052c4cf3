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
from crosstape.common.identity.services import TWAP_ENGINE
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
from crosstape.twap_engine.execution.listings import Listings
from crosstape.twap_engine.execution.simulated import SimulatedExecutor
from crosstape.twap_engine.feed import Feed
from crosstape.twap_engine.markets import Directory
from crosstape.twap_engine.relay import Relay, watch
from crosstape.twap_engine.replica import ReplicaLife, new_name
from crosstape.twap_engine.settings import ExecutorKind, TwapSettings
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.migrate import migrate

ENGINE_CONNECTIONS = 6
API_CONNECTIONS = 8
"""However many requests there are, slices are not held up for want of a connection, and a replica is not taken for dead
(whose beats have one of their own)."""


def main() -> None:
    """Run the service as its environment says."""
    settings = read_settings(TwapSettings)
    run_service(TWAP_ENGINE, settings, partial(build, settings))


async def build(settings: TwapSettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The app and its background work. The port answers (not ready) while the database is still out of reach."""
    health = Health(needs=("database", "first_books"), stopping=stop)
    tokens = settings.internal_tokens(TWAP_ENGINE)
    clock = Clock()
    database = Database(settings.orders_database_url, ENGINE_CONNECTIONS)
    of_api, of_life = database.beside(API_CONNECTIONS), database.beside(1)
    books = Books(int(settings.book_seconds * NANOSECONDS))
    benchmarks = Benchmarks(books)
    session = aiohttp.ClientSession()
    lists = MarketLists(settings.history_url, session, tokens)
    clients = open_clients(settings) if settings.executor is ExecutorKind.CCXT else {}
    listings = Listings(clients)
    executor: Executor = (
        CcxtExecutor(database, books, listings, settings.ccxt_limits, clock)
        if settings.executor is ExecutorKind.CCXT
        else SimulatedExecutor(database, books, settings.fee_rates, clock)
    )
    engine = Engine(database, executor, benchmarks, clock, new_name())
    life = ReplicaLife(of_life, engine, clock, settings.lease_seconds)
    accounts = Accounts(database, engine, clock, settings.auth_url, session, tokens)
    feed = Feed(settings.bus, books, benchmarks, clock)
    health.watch("books", feed.check)
    health.watch("first_books", feed.check_start)
    health.watch("database", life.check)
    resources = Resources(of_api, engine, executor, books, Directory(lists.tables), clock, health)

    async def work(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(lists.run(stop), name="market lists")
            group.create_task(feed.run(stop), name="feed")
            group.create_task(listings.run(stop), name="exchanges' market lists")
            if await prepared(stop, partial(migrate, database)):
                group.create_task(_tell(settings.bus, database, life, stop), name="relay")
                group.create_task(watch(database, life, stop), name="outbox")
                group.create_task(_live(engine, life, stop), name="engine")
                group.create_task(accounts.run(stop), name="accounts")

    async def close() -> None:
        for client in clients.values():
            await client.close()
        await session.close()
        for one in (of_api, of_life, database):
            await one.close()

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
