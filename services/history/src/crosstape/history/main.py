"""Wiring: settings to stores, to the sink's work and the API's app."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from crosstape.common.identity.services import HISTORY
from crosstape.common.runtime.health import Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.preparing import prepared
from crosstape.common.runtime.settings import read_settings
from crosstape.common.waiting import unless_stopped
from crosstape.common.web.closing import close_last
from crosstape.history.api.app import create_app
from crosstape.history.api.markets import Markets
from crosstape.history.api.resources import Resources
from crosstape.history.exchanges import Exchanges
from crosstape.history.migrate import migrate
from crosstape.history.settings import HistorySettings
from crosstape.history.sink.service import run_sink
from crosstape.history.store import Store

LONG_SECONDS = 60.0
"""Deadline of one page of an export."""
PROBE_SECONDS = 0.8
"""Deadline of each of the two queries of a probe: a gateway waits two seconds for both."""


def main() -> None:
    """Run the service as its environment says."""
    settings = read_settings(HistorySettings)
    run_service(HISTORY, settings, partial(build, settings))


async def build(settings: HistorySettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The app and the background work of the settings' role. The port answers (not ready) while the database is
    still out of reach."""
    needs = ("database", "bus", "storing") if settings.role.has_sink else ("database",)
    health = Health(needs, stopping=stop)
    open_store = partial(Store, settings.clickhouse_url)
    reads = open_store(threads=settings.query_threads, deadline=settings.query_seconds)
    exports = open_store(threads=settings.export_threads, deadline=LONG_SECONDS)
    probes = open_store(threads=1, deadline=PROBE_SECONDS)
    exchanges = Exchanges(settings.exchange_origin)
    markets = Markets(settings.exchanges, exchanges.markets, reads)
    has_tables = asyncio.Event()
    resources = Resources(reads, exports, probes, markets, exchanges, health, has_tables)

    async def work(stop: asyncio.Event) -> None:
        if not await prepared(stop, partial(migrate, exports, settings.clickhouse_cluster)):
            return
        has_tables.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(health.watch_database(probes.ping, stop), name="watch database")
            if settings.role.has_api:
                group.create_task(unless_stopped(stop, markets.refresh()), name="market lists")
            if settings.role.has_sink:
                group.create_task(run_sink(settings, health, stop), name="sink")

    async def close() -> None:
        await exchanges.close()
        for store in (reads, exports, probes):
            await store.close()

    app = create_app(resources, settings.internal_tokens(HISTORY))
    close_last(app, close)
    return app, [work]
