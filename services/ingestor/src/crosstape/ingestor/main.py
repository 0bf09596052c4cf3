"""Wiring: settings to dialect to the parts of the ingestor. Nothing but `__main__` imports this."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import aiohttp
from starlette.applications import Starlette

from crosstape.common.bus.producer import Producer
from crosstape.common.identity.services import INGESTOR
from crosstape.common.runtime.health import Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.settings import read_settings
from crosstape.common.symbols import exchange_id
from crosstape.common.waiting import unless_stopped
from crosstape.common.web.operations import operations_routes
from crosstape.exchanges import DIALECTS, dialect_of
from crosstape.exchanges.ccxt_generic import open_exchange
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.assembly import COVERAGE_SECONDS, Ingestor, Part
from crosstape.ingestor.generic import GenericFeed, bus_lost, generic_check
from crosstape.ingestor.ingest import report_coverage, tell_last_trade_age
from crosstape.ingestor.listing import choose, until_listed
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.series import begin_series, begin_socket_series
from crosstape.ingestor.settings import IngestorSettings
from crosstape.ingestor.unnumbered import Unnumbered, follow_tape
from crosstape.ingestor.watermarks import StoredTape

HTTP_SECONDS = 20


async def build(settings: IngestorSettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The process's app (health and metrics) and its one piece of work."""
    health = Health(needs=("feed",), stopping=stop)
    return Starlette(routes=operations_routes(health)), [partial(ingest, settings, health)]


async def ingest(settings: IngestorSettings, health: Health, stop: asyncio.Event) -> None:
    """Read the exchange until `stop`; then close the sockets, and return once the bus has everything.

    The same is done, and all begun anew, when the exchange lists a symbol again that it did not: the others' repair
    makes up for it. Raises PlatformError when the exchange or every symbol is unknown.
    """
    name = exchange_id(settings.exchange)
    begin_series(name)
    read = ingest_native if name in DIALECTS else ingest_generic
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HTTP_SECONDS)) as session:
        while not stop.is_set():
            await read(settings, health, session, stop)


async def ingest_native(
    settings: IngestorSettings, health: Health, session: aiohttp.ClientSession, stop: asyncio.Event
) -> None:
    """Read an exchange that has a dialect until `stop`, or until it lists another of the symbols."""
    dialect = dialect_of(settings.exchange)
    begin_socket_series(dialect.exchange)
    rest = ExchangeRest(dialect, settings.exchange_origin or None, session)
    choice = await unless_stopped(stop, choose(dialect.exchange, rest, settings.symbols))
    if choice is None:
        return
    ingestor = Ingestor(settings, dialect, rest, session, choice.instruments)
    health.watch("feed", lambda: choice.shown_in(ingestor.feed_check()))
    async with ingestor.producer:
        end = unless_stopped(stop, until_listed(dialect.exchange, rest, choice))
        await _run(ingestor.sockets(), ingestor.others(), ingestor.drain, end)


async def ingest_generic(
    settings: IngestorSettings, health: Health, session: aiohttp.ClientSession, stop: asyncio.Event
) -> None:
    """The same for an exchange that only ccxt knows."""
    exchange = open_exchange(exchange_id(settings.exchange))
    try:
        choice = await unless_stopped(stop, choose(exchange.exchange, exchange, settings.symbols))
        if choice is None:
            return
        tape = StoredTape(session, settings.history_url, settings.internal_tokens(INGESTOR), exchange.exchange)
        repairs: dict[str, MarketRepair] = {}
        unnumbered = Unnumbered(repairs)
        producer = Producer(settings.bus, on_loss=partial(bus_lost, exchange.exchange, unnumbered))
        publisher = Publisher(exchange.exchange, producer, on_pressure=lambda is_pressed: None)
        feeds = [GenericFeed(exchange, instrument, publisher) for instrument in choice.instruments]
        repairs.update((feed.market.symbol, feed.repair) for feed in feeds)
        markets = {feed.market.symbol: feed.market for feed in feeds}
        tell_last_trade_age(exchange.exchange, markets)
        health.watch("feed", lambda: choice.shown_in(generic_check(feeds)))
        async with producer:
            others = [
                publisher.run(),
                publisher.run_ledger(),
                report_coverage(publisher, markets, COVERAGE_SECONDS),
                follow_tape(unnumbered, tape),
                *(repair.run() for repair in repairs.values()),
            ]
            end = unless_stopped(stop, until_listed(exchange.exchange, exchange, choice))
            await _run([feed.run() for feed in feeds], others, publisher.drain, end)
    finally:
        await exchange.close()


async def _run(
    sources: Sequence[Part], others: Sequence[Part], drain: Callable[[], Awaitable[None]], end: Awaitable[None]
) -> None:
    """Do all parts until `end` has come; then end the `sources`, drain, and end the others."""
    async with asyncio.TaskGroup() as group:
        going_on = [group.create_task(part) for part in others]
        reading = [group.create_task(part) for part in sources]
        await end
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
        await drain()
        for task in going_on:
            task.cancel()


def main() -> None:
    """Entry point of the process."""
    settings = read_settings(IngestorSettings)
    run_service(INGESTOR, settings, partial(build, settings))
