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

from crosstape.api_gateway.connection import Broken
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.bus.security import Tls
from crosstape.common.runtime.health import Check
from crosstape.common.waiting import pause

Probe = Callable[[], Awaitable[Mapping[str, Check]]]
"""Asks one part, says how it and the parts behind it are. Never raises."""

LONGEST_PROBE_SECONDS = 2.0
VITAL = frozenset({"history", "database"})
"""Without these no market data can be answered: `unhealthy`. Any other part that is down makes it `degraded`."""

_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Kafka's ApiVersions request, version 0: its length, key, version, a correlation id and no client id."""

_FEED = "feed:"


class Monitor:
    """Remembers the latest answer of every probe. A part that has not answered yet is down."""

    def __init__(self, probes: Sequence[Probe], interval_seconds: float):
        self._probes = probes
        self._interval = interval_seconds
        self._latest: dict[int, Mapping[str, Check]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Ask everybody, side by side, once per interval."""
        while not stop.is_set():
            answers = await asyncio.gather(*(probe() for probe in self._probes))
            self._latest = dict(enumerate(answers))
            await pause(stop, self._interval)

    def checks(self) -> dict[str, Check]:
        """Every part by name; exchange feeds as `feed:<exchange>`."""
        starting = {name: Check(is_up=False, detail={"reason": "starting"}) for name in sorted(VITAL)}
        return starting | {name: check for answer in self._latest.values() for name, check in answer.items()}

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
            return {"history": Check(is_up=False), "database": behind}
        database = status.database
        return {
            "history": Check(is_up=True, detail=_took(started)),
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
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            writer.write(_API_VERSIONS)
            return (await reader.readexactly(8))[4:] == b"\0\0\0\1"
        finally:
            writer.close()

    async def probe() -> Mapping[str, Check]:
        for host, port in addresses:
            started = time.perf_counter()
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(LONGEST_PROBE_SECONDS):
                    if await answers(host, port):
                        return {"bus": Check(is_up=True, detail=_took(started))}
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
