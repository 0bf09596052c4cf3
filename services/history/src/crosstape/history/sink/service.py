"""The sink's parts put together: consumer, writer, closing, and whether they are well."""

from __future__ import annotations

import asyncio

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


async def run_sink(
    settings: HistorySettings, inserts: Store, closings: Store, health: Health, stop: asyncio.Event
) -> None:
    """Store and close until `stop`. `inserts` and `closings` are apart, so that neither waits for the other."""
    touched = TouchedMinutes(grace=settings.grace_seconds, quiet=settings.quiet_seconds)
    async with Producer(settings.bus) as producer:
        closing = Closing(closings, producer, touched)
        writer = Writer(inserts, producer, touched)
        consumer = Consumer(settings.bus, [TRADES, LEDGER], group=GROUP, on_assigned=closing.reconcile_soon)
        health.watch("storing", lambda: Check(is_up=writer.is_storing))
        async with consumer, asyncio.TaskGroup() as group:
            health.watch("bus", lambda: Check(is_up=consumer.is_assigned))
            closing.reconcile_soon()
            group.create_task(closing.run(stop), name="closing")
            await writer.run(consumer, stop, flush_rows=settings.flush_rows, flush_seconds=settings.flush_seconds)
