"""What the gateway answers itself: health, ping, the documents and what operators ask."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from importlib.resources import files
from operator import attrgetter
from typing import Any, Literal

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.responses import Response

from crosstape.api_gateway.checks import Monitor, shown, verdict
from crosstape.api_gateway.docs import install_docs
from crosstape.api_gateway.document import PlatformDocument
from crosstape.common.identity.services import HISTORY
from crosstape.common.runtime.health import Health
from crosstape.common.time import iso_milliseconds
from crosstape.common.web.errors import install_error_handlers
from crosstape.common.web.operations import operations_routes

VERSION = version("crosstape-api-gateway")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Pong(BaseModel):
    """The answer to /ping."""

    message: Literal["pong"]


class Live(BaseModel):
    """The answer to /health/live."""

    status: Literal["ok"]


class Healthy(BaseModel):
    """The answer to /health."""

    status: Literal["healthy"]
    version: str = Field(examples=["1.0.0"])
    timestamp: dt.datetime = Field(examples=["2025-11-13T10:30:45.123Z"])


class PartStatus(BaseModel, extra="allow"):
    """One part of the platform. Feeds also have `last_event_age_ms`, the others `response_time_ms`."""

    status: Literal["up", "down"]


class Readiness(BaseModel):
    """The answer to /health/ready."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str = Field(examples=["1.0.0"])
    timestamp: dt.datetime = Field(examples=["2025-11-13T10:30:45.123Z"])
    checks: dict[str, PartStatus] = Field(
        description="`database`, `api`, `bus`, `cache`, each service, and each exchange's feed as `feed:<exchange>`",
        examples=[{"database": {"status": "up", "response_time_ms": 12.5}, "api": {"status": "up"}}],
    )


def create_own_app(
    monitor: Monitor, document: PlatformDocument, lifespan: Lifespan, stopping: asyncio.Event | None = None
) -> FastAPI:
    """The FastAPI app behind the edge. `/readyz` is 503 while history cannot be reached, and once `stopping` is set."""
    app = FastAPI(
        title="Crosstape",
        version=VERSION,
        description=files("crosstape.api_gateway").joinpath("assets/description.md").read_text("utf-8"),
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "this origin"}],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=attrgetter("name"),
        lifespan=lifespan,
    )
    install_error_handlers(app)
    health = Health(needs=(HISTORY,), stopping=stopping)
    health.watch(HISTORY, lambda: monitor.check(HISTORY))
    app.router.routes.extend(operations_routes(health))
    install_docs(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(await document.current(app.openapi), media_type="application/json")

    @app.get("/ping", responses={200: {"model": Pong}}, tags=["health"], summary="Answers pong")
    async def ping() -> Response:
        return _json({"message": "pong"})

    @app.get("/health", responses={200: {"model": Healthy}}, tags=["health"], summary="The API answers")
    async def is_healthy() -> Response:
        return _json({"status": "healthy", **_stamp()})

    @app.get("/health/live", responses={200: {"model": Live}}, tags=["health"], summary="The process lives")
    async def live() -> Response:
        return _json({"status": "ok"})

    @app.get("/health/ready", responses={200: {"model": Readiness}}, tags=["health"], summary="How every part is")
    async def ready() -> Response:
        """Always 200: read `status`. `unhealthy`: no data can be answered; `degraded`: some part is down."""
        checks = monitor.checks()
        return _json({"status": verdict(checks), **_stamp(), "checks": {"api": {"status": "up"}, **shown(checks)}})

    return app


def _stamp() -> dict[str, str]:
    return {"version": VERSION, "timestamp": iso_milliseconds(dt.datetime.now(dt.UTC))}


def _json(body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
