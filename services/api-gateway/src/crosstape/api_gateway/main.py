"""Wiring of the gateway: nothing here decides anything."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from msgspec import Struct
from redis.asyncio import Redis
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from crosstape.api_gateway.checks import Monitor, bus_probe, cache_probe, history_probe
from crosstape.api_gateway.document import PlatformDocument
from crosstape.api_gateway.edge import Edge
from crosstape.api_gateway.own import create_own_app
from crosstape.api_gateway.routes import HISTORY, RouteTable
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.settings import read_settings
from crosstape.common.web.request_context import RequestContext

_EXPOSED = ("X-Request-ID", "X-Process-Time", "Deprecation", "Retry-After")


class Resources(Struct, frozen=True):
    """What the gateway holds open: a pool per service, the cache's client if there is a cache, and the monitor."""

    upstreams: Mapping[str, Upstream]
    cache: Redis | None
    monitor: Monitor

    async def close(self) -> None:
        """Close all of it."""
        for upstream in self.upstreams.values():
            await upstream.close()
        if self.cache:
            await self.cache.aclose()


def open_resources(settings: GatewaySettings) -> Resources:
    """Connects to nobody yet. Needs a running event loop."""
    upstreams = {HISTORY: Upstream(HISTORY, str(settings.history_url), settings)}
    cache = Redis.from_url(settings.redis_url) if settings.redis_url else None
    probes = [history_probe(upstreams[HISTORY])]
    if settings.kafka_bootstrap:
        probes.append(bus_probe(settings.kafka_bootstrap))
    if cache:
        probes.append(cache_probe(cache))
    return Resources(upstreams, cache, Monitor(probes, settings.health_interval_seconds))


def create_app(settings: GatewaySettings, resources: Resources, table: RouteTable | None = None) -> ASGIApp:
    """The whole edge, outermost layer first: request id, CORS where it is on, the proxy, the gateway's own routes."""
    table = table or RouteTable()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await resources.close()

    document = PlatformDocument(resources.upstreams, table.routes, settings.document_seconds)
    own = create_own_app(resources.monitor, document, lifespan)
    app: ASGIApp = Edge(own, own_paths(own), table, resources.upstreams, settings)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=_EXPOSED,
        )
    return RequestContext(app)


def own_paths(own: FastAPI) -> frozenset[str]:
    """The gateway's own paths, as metrics name them."""
    return frozenset(str(getattr(route, "path", "")) for route in own.routes)


async def build(settings: GatewaySettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The app and the work of the process."""
    resources = open_resources(settings)
    return create_app(settings, resources), [resources.monitor.run]


def run() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = read_settings(GatewaySettings)
    run_service("api-gateway", settings, functools.partial(build, settings))
