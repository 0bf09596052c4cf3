"""What is asked while the service drains is answered: the port does until the end."""

from __future__ import annotations

import asyncio

import pytest

from crosstape.common.errors import DatabaseConnectionError
from crosstape.common.runtime.settings import read_settings
from crosstape.common.testing.identity import own_headers
from crosstape.history.main import build
from crosstape.history.settings import HistorySettings
from services.history.tests.harness import get

pytestmark = pytest.mark.integration

PATIENCE = 60.0


async def test_requests_are_answered_after_the_work_has_ended_and_then_the_stores_close(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ROLE", "api"), ("CLICKHOUSE_URL", store_url), ("EXCHANGES", "binance")):
        monkeypatch.setenv(f"CROSSTAPE_{name}", value)
    stop = asyncio.Event()
    app, [work] = await build(read_settings(HistorySettings), stop)
    resources = app.state.resources
    async with app.router.lifespan_context(app):
        working = asyncio.create_task(work(stop))
        await asyncio.wait_for(resources.has_tables.wait(), PATIENCE)
        stop.set()
        await asyncio.wait_for(working, PATIENCE)
        path = "/internal/closed_minutes/binance?symbols=BTC-USDT&since=0"
        assert (await get(app, path, **own_headers("history"))).status == 200
    for store in (resources.reads, resources.exports, resources.probes):
        with pytest.raises(DatabaseConnectionError):
            await store.rows("ping")
