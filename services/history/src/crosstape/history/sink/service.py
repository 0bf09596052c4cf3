"""The sink's parts put together: consumer, writer, closing, and whether they are well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crosstape.common.bus.consumer import Consumer
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import LEDGER, TRADES
from crosstape.common.runtime.health import Check, Health
from crosstape.history.settings import HistorySettings
from crosstape.history.sink.closing import Closing
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.sink.writer import Writer
from crosstape.history.store import Store

GROUP = "history"
DEADLINE_SECONDS = 60.0


@asynccontextmanager
async def sink_stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """The sink's stores of the database at `url`: for inserts, which go first, and for closing, which leaves them a
    core. They are apart, so that neither waits for the other."""
    inserts = Store(url, threads=1, deadline=DEADLINE_SECONDS, priority=1)
    closings = Store(url, threads=1, deadline=DEADLINE_SECONDS, cores=1, priority=2)
    try:
        yield inserts, closings
    finally:
        await inserts.close()
        await closings.close()


async def run_sink(settings: HistorySettings, health: Health, stop: asyncio.Event) -> None:
    """Store and close until `stop`."""
    touched = TouchedMinutes(grace=settings.grace_seconds, quiet=settings.quiet_seconds)
    async with sink_stores(settings.clickhouse_url) as (inserts, closings), Producer(settings.bus) as producer:
        writer = Writer(inserts, producer, touched)

        def on_assigned() -> None:
            writer.forget()
            touched.forget()
            closing.reconcile_soon()

        consumer = Consumer(
            settings.bus,
            [TRADES, LEDGER],
            group=GROUP,
            member=GROUP if settings.is_embedded else None,
            on_assigned=on_assigned,
        )
        closing = Closing(closings, producer, touched, lambda: consumer.share(TRADES))
        health.watch("storing", lambda: Check(is_up=writer.is_storing))
        health.watch("closing", lambda: Check(is_up=closing.is_closing))
        async with consumer, asyncio.TaskGroup() as group:
            health.watch("bus", lambda: Check(is_up=consumer.is_assigned))
            group.create_task(closing.run(stop), name="closing")
            await writer.run(consumer, stop, flush_rows=settings.flush_rows, flush_seconds=settings.flush_seconds)
