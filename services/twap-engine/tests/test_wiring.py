"""The service as it is put together, without a bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crosstape.twap_engine import main
from crosstape.twap_engine.api.resources import Resources
from crosstape.twap_engine.feed import Feed
from crosstape.twap_engine.settings import TwapSettings
from crosstape.twap_engine.store.database import Database


async def no_bus(*args: Any) -> None:
    await args[-1].wait()


@asynccontextmanager
async def running(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Resources]:
    """The service on database `url`."""
    monkeypatch.setattr(Feed, "run", no_bus)
    monkeypatch.setattr(main, "_tell", no_bus)
    monkeypatch.setenv("CROSSTAPE_ORDERS_DATABASE_URL", url)
    monkeypatch.setenv("CROSSTAPE_HISTORY_URL", "http://127.0.0.1:9")
    stop = asyncio.Event()
    app, [work] = await main.build(TwapSettings(), stop)
    async with asyncio.timeout(60), app.router.lifespan_context(app):
        working = asyncio.ensure_future(work(stop))
        yield app.state.resources
        stop.set()
        await working


async def test_requests_that_hold_every_connection_of_theirs_delay_no_beat_and_no_slice(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[int] = []

    async def read(resources: Resources, number: int) -> None:
        async with resources.database.reading():
            entered.append(number)
            await asyncio.Event().wait()

    async with running(sqlite_url, monkeypatch) as resources:
        reading = [asyncio.ensure_future(read(resources, number)) for number in range(2 * main.API_CONNECTIONS)]
        while len(entered) < main.API_CONNECTIONS:
            await asyncio.sleep(0.001)
        while not resources.health.checks()["database"].is_up:
            await asyncio.sleep(0.001)
        await resources.engine.step()
        assert not resources.health.is_ready, "no book came yet"
        for one in reading:
            one.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def test_who_waits_for_a_connection_keeps_nobody_else_from_writing(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    other = database.beside(1)

    async def write(to: Database) -> None:
        async with to.writing():
            pass

    async with other.reading():
        waiting = asyncio.ensure_future(write(other))
        await asyncio.sleep(0)
        async with asyncio.timeout(4):
            await write(database)
    await waiting
    for one in (other, database):
        await one.close()
