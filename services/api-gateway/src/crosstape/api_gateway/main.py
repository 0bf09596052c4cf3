"""Wiring of the gateway: nothing here decides anything."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI
from msgspec import Struct
from redis.asyncio import Redis
from starlette.types import ASGIApp

from crosstape.api_gateway.address import Addresses
from crosstape.api_gateway.admission import Admission
from crosstape.api_gateway.arrival import Bounds
from crosstape.api_gateway.checks import Monitor, bus_probe, cache_probe, history_probe, service_probe
from crosstape.api_gateway.client_connection import ClientConnection
from crosstape.api_gateway.cors import Cors
from crosstape.api_gateway.document import PlatformDocument
from crosstape.api_gateway.edge import Edge
from crosstape.api_gateway.guests import Guests
from crosstape.api_gateway.limiter import Limiter
from crosstape.api_gateway.own import create_own_app
from crosstape.api_gateway.process import prepare
from crosstape.api_gateway.rates import untouched
from crosstape.api_gateway.routes import RouteTable
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.identity.authenticator import Authenticator
from crosstape.common.identity.revocations import RevocationFeed, Revocations
from crosstape.common.identity.services import API_GATEWAY, AUTH, HISTORY, STREAM_HUB, TWAP_ENGINE
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.settings import read_settings


class Resources(Struct, frozen=True):
    """What the gateway holds open, and what keeps it informed."""

    upstreams: Mapping[str, Upstream]
    redis: Redis
    session: aiohttp.ClientSession
    authenticator: Authenticator
    revocations: RevocationFeed
    limiter: Limiter
    monitor: Monitor

    def work(self) -> list[Work]:
        """What runs beside the requests."""
        return [self.monitor.run, self.limiter.run, self.revocations.run, self.authenticator.run]

    async def close(self) -> None:
        """Close all of it."""
        for upstream in self.upstreams.values():
            upstream.close()
        await self.session.close()
        await self.redis.aclose()


def open_resources(settings: GatewaySettings) -> Resources:
    """Connects to nobody yet. Needs a running event loop."""
    tokens = settings.internal_tokens(API_GATEWAY)
    origins = {
        HISTORY: settings.history_url,
        AUTH: settings.auth_url,
        STREAM_HUB: settings.stream_hub_url,
        TWAP_ENGINE: settings.twap_url,
    }
    sockets = {STREAM_HUB: settings.stream_hub_sockets_url}
    upstreams = {
        name: Upstream(name, origin, settings, tokens, sockets=sockets.get(name))
        for name, origin in origins.items()
        if origin
    }
    redis = Redis.from_url(settings.redis_url)
    probes = [
        history_probe(upstreams[HISTORY]),
        *(service_probe(upstream) for name, upstream in upstreams.items() if name != HISTORY),
        cache_probe(redis),
    ]
    if settings.kafka_bootstrap:
        probes.append(bus_probe(settings.kafka_bootstrap, settings.broker_tls))
    session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
    revocations = Revocations()
    return Resources(
        upstreams=upstreams,
        redis=redis,
        session=session,
        authenticator=Authenticator(settings.auth_url, session, tokens, revocations),
        revocations=RevocationFeed(redis, revocations),
        limiter=Limiter(settings.redis_url),
        monitor=Monitor(probes, settings.health_interval_seconds),
    )


def create_app(
    settings: GatewaySettings,
    resources: Resources,
    table: RouteTable | None = None,
    *,
    stopping: asyncio.Event | None = None,
) -> ASGIApp:
    """The whole edge, outermost layer first: CORS where it is on, the edge, our own routes. Needs ClientConnection."""
    table = table or RouteTable()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await resources.close()

    document = PlatformDocument(
        resources.upstreams, table.routes, settings.document_seconds, anonymous_read=settings.anonymous_read
    )
    own = create_own_app(resources.monitor, document, lifespan, stopping)
    admission = Admission(resources.authenticator, resources.revocations, resources.limiter, settings)
    app: ASGIApp = Edge(own, own_paths(own), table, resources.upstreams, admission, settings)
    if settings.cors_origins:
        app = Cors(app, settings.cors_origins)
    return app


def own_paths(own: FastAPI) -> frozenset[str]:
    """The gateway's own paths, as metrics name them."""
    return frozenset(str(getattr(route, "path", "")) for route in own.routes)


def protocol(settings: GatewaySettings) -> Any:
    """What the server makes the protocol of a client's connection with."""
    bounds = Bounds(
        url=settings.url_limit_bytes,
        headers=settings.header_limit_bytes,
        header_seconds=settings.header_seconds,
        stall_seconds=settings.client_stall_seconds,
        connections=settings.connections,
    )
    guests = Guests(Addresses(settings.trusted_proxies), settings.connections_per_address)
    return functools.partial(
        ClientConnection, bounds=bounds, guests=guests, untouched=untouched(settings.limit_anonymous)
    )


async def build(settings: GatewaySettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The app and the work of the process."""
    resources = open_resources(settings)
    return create_app(settings, resources, stopping=stop), resources.work()


def main() -> None:
    """Run the service as its environment says."""
    settings = read_settings(GatewaySettings)
    prepare()
    run_service(API_GATEWAY, settings, functools.partial(build, settings), protocol(settings))
