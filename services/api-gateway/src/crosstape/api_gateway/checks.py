"""Whether the parts of the platform are well: asked in the background, answered from memory."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from crosstape.api_gateway.service_connection import Broken
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.bus.security import Tls
from crosstape.common.identity.services import HISTORY
from crosstape.common.runtime.health import Check
from crosstape.common.waiting import pause, unless_stopped

Probe = Callable[[], Awaitable[Mapping[str, Check]]]
"""Asks one part, says how it and the parts behind it are. Never raises."""

LONGEST_PROBE_SECONDS = 2.0
VITAL = frozenset({HISTORY, "database"})
"""Without these no market data can be answered: `unhealthy`. Any other part that is down makes it `degraded`."""

_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Kafka's ApiVersions request, version 0: its length, key, version, a correlation id and no client id."""

_FEED = "feed:"


class Monitor:
    """Remembers the latest answer of every probe. A part that has not answered yet is down."""

    def __init__(self, probes: Sequence[Probe], interval_seconds: float):
        self._probes = probes
        self._interval = interval_seconds
        self._latest: list[Mapping[str, Check]] = [{} for _ in probes]

    async def run(self, stop: asyncio.Event) -> None:
        """Ask everybody, side by side, each once per interval: one that is late keeps no other waiting."""
        await asyncio.gather(*(self._ask(number, probe, stop) for number, probe in enumerate(self._probes)))

    async def _ask(self, number: int, probe: Probe, stop: asyncio.Event) -> None:
        while not stop.is_set():
            answer = await unless_stopped(stop, probe())
            if answer is not None:
                self._latest[number] = answer
            await pause(stop, self._interval)

    def checks(self) -> dict[str, Check]:
        """Every part by name; exchange feeds as `feed:<exchange>`."""
        starting = {name: Check(is_up=False, detail={"reason": "starting"}) for name in sorted(VITAL)}
        return starting | {name: check for answer in self._latest for name, check in answer.items()}

    def check(self, name: str) -> Check:
        """One part."""
        return self.checks().get(name, Check(is_up=False, detail={"reason": "starting"}))


def verdict(checks: Mapping[str, Check]) -> str:
    """`healthy`, `degraded` or `unhealthy`, of the whole platform."""
    down = {name for name, check in checks.items() if not check.is_up}
    if down & VITAL:
        return "unhealthy"
    return "degraded" if down else "healthy"


def shown(checks: Mapping[str, Check]) -> dict[str, dict[str, Any]]:
    """The checks as /health/ready shows them."""
    return {name: {"status": "up" if check.is_up else "down", **check.detail} for name, check in checks.items()}


class DatabaseStatus(Struct):
    """History's word on ClickHouse."""

    status: str
    response_time_ms: float | None = None


class FeedStatus(Struct):
    """History's word on an exchange's feed: how old its latest event is."""

    status: str
    last_event_age_ms: float | None = None


class HistoryStatus(Struct):
    """What history answers at /internal/status."""

    database: DatabaseStatus
    feeds: dict[str, FeedStatus] = {}


def history_probe(history: Upstream) -> Probe:
    """History itself, the database behind it and the exchange feeds it sees."""

    async def probe() -> Mapping[str, Check]:
        started = time.perf_counter()
        try:
            status = await history.get("/internal/status", HistoryStatus, LONGEST_PROBE_SECONDS)
        except (Broken, TimeoutError, ValueError):
            behind = Check(is_up=False, detail={"reason": "history does not answer"})
            return {HISTORY: Check(is_up=False), "database": behind}
        database = status.database
        return {
            HISTORY: Check(is_up=True, detail=_took(started)),
            "database": Check(database.status == "up", {"response_time_ms": database.response_time_ms}),
            **{
                f"{_FEED}{exchange}": Check(feed.status == "up", {"last_event_age_ms": feed.last_event_age_ms})
                for exchange, feed in sorted(status.feeds.items())
            },
        }

    return probe


class Ready(Struct):
    """What a service answers at /readyz when it is ready."""

    status: str


def service_probe(service: Upstream) -> Probe:
    """Any other service: up when it says that it is ready."""

    async def probe() -> Mapping[str, Check]:
        started = time.perf_counter()
        try:
            await service.get("/readyz", Ready, LONGEST_PROBE_SECONDS)
        except (Broken, TimeoutError, ValueError):
            return {service.name: Check(is_up=False)}
        return {service.name: Check(is_up=True, detail=_took(started))}

    return probe


def bus_probe(bootstrap: str, tls: Tls | None) -> Probe:
    """The broker: up when one of `bootstrap`'s addresses answers a Kafka request, one that needs no user."""
    context = tls.context() if tls else None
    parts = [address.rpartition(":") for address in bootstrap.split(",")]
    addresses = [(host.strip("[]"), int(port)) for host, _, port in parts]

    async def answers(host: str, port: int) -> bool:
        with contextlib.suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                writer.write(_API_VERSIONS)
                return (await reader.readexactly(8))[4:] == b"\0\0\0\1"
            finally:
                writer.close()
        return False

    async def probe() -> Mapping[str, Check]:
        started = time.perf_counter()
        asking = [asyncio.create_task(answers(host, port)) for host, port in addresses]
        try:
            with contextlib.suppress(TimeoutError):
                for answer in asyncio.as_completed(asking, timeout=LONGEST_PROBE_SECONDS):
                    if await answer:
                        return {"bus": Check(is_up=True, detail=_took(started))}
        finally:
            for task in asking:
                task.cancel()
        return {"bus": Check(is_up=False)}

    return probe


def cache_probe(cache: Redis) -> Probe:
    """The cache: up when it answers PING."""

    async def probe() -> Mapping[str, Check]:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(LONGEST_PROBE_SECONDS):
                await cache.ping()
        except (RedisError, OSError, TimeoutError):
            return {"cache": Check(is_up=False)}
        return {"cache": Check(is_up=True, detail=_took(started))}

    return probe


def _took(started: float) -> dict[str, float]:
    return {"response_time_ms": round((time.perf_counter() - started) * 1000, 3)}
